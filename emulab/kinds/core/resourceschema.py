"""What a container or a Pod may say of its resources (pkg/apis/core/validation, `validateResourceRequirements`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulab.kinds.openapi.typed import typed
from emulab.model.checks import Problems, show, wrong
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.model.quantity import Quantity

_STANDARD = ("cpu", "memory", "ephemeral-storage")
_WHOLE_PODS = ("cpu", "memory")
_PAGES = "hugepages-"


def _requirements(resources: dict[str, Any]) -> Problems:
    return _checked(resources, _STANDARD)


def _requirements_of_pod(resources: dict[str, Any]) -> Problems:
    return _checked(resources, _WHOLE_PODS)


def _checked(resources: dict[str, Any], known: tuple[str, ...]) -> Problems:
    amounts = {which: resources.get(which) or {} for which in ("limits", "requests")}
    if not any(amounts.values()):
        return ()
    from emulab.model.quantity import parse_quantity  # exact arithmetic, which few need

    found: list[tuple[FieldPath, str]] = []
    parsed: dict[str, dict[str, Quantity]] = {}
    for which, given in amounts.items():
        parsed[which] = {name: parse_quantity(amount) for name, amount in given.items()}
        for name, amount in given.items():
            found += [((which, name), why) for why in _of_one(name, amount, parsed[which][name], known)]
    if not found:
        found += _of_both(parsed["limits"], parsed["requests"])
    names = {*amounts["limits"], *amounts["requests"]}
    if any(name.startswith(_PAGES) for name in names) and not names.intersection(_WHOLE_PODS):
        found += wrong("HugePages require cpu or memory")
    return found


def _of_one(name: str, amount: object, quantity: Quantity, known: tuple[str, ...]) -> list[str]:
    if "/" not in name and name not in known and not name.startswith(_PAGES):
        if name in _STANDARD:
            return [f"{show(name)}: is no resource of a whole Pod; {', '.join(known)} are"]
        return [f"{show(name)}: must be a standard resource type or fully qualified"]
    if quantity.value < 0:
        return [f"{show(str(amount))}: must be greater than or equal to 0"]
    whole = "/" in name and quantity.value.denominator != 1
    return [f"{show(str(amount))}: must be an integer"] if whole else []


def _of_both(limits: dict[str, Quantity], requests: dict[str, Quantity]) -> Problems:
    """What is asked for beside what is allowed; of what can't be shared that is the same."""
    found: list[tuple[FieldPath, str]] = []
    for name, request in requests.items():
        alone = "/" in name or name.startswith(_PAGES)
        if name not in limits:
            if alone:
                found += wrong("Limit must be set for non overcommitable resources", "limits")
            continue
        limit = limits[name]
        if alone and request.value != limit.value:
            found += wrong(f"{show(str(request))}: must be equal to {name} limit of {limit}", "requests")
        elif request.value > limit.value:
            found += wrong(
                f"{show(str(request))}: must be less than or equal to {name} limit of {limit}", "requests"
            )
    return found


resources = typed("core.v1.ResourceRequirements", rules=(_requirements,))
pod_resources = typed("core.v1.ResourceRequirements", rules=(_requirements_of_pod,))
