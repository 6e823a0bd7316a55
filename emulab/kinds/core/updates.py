"""What of a Pod's spec may be changed while it is there (`ValidatePodUpdate` of pkg/apis/core/validation). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.core.podspec import Container
from emulab.model.checks import Problems, show, wrong
from emulab.model.imagenames import image_name
from emulab.model.objects import Object

CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_CONTAINERS = ("containers", "initContainers")
STATUSES = ("initContainerStatuses", "containerStatuses")
_DEADLINE = "activeDeadlineSeconds"


def update_problems(old: Mapping[str, Any], new: Mapping[str, Any]) -> Problems:
    """What is wrong with a change of a Pod's spec, in the API server's words; paths begin at the spec."""
    for field in _CONTAINERS:
        if len(old.get(field) or ()) != len(new.get(field) or ()):
            return wrong("Forbidden: pod updates may not add or remove containers", field)
    if found := _deadline(old.get(_DEADLINE), new.get(_DEADLINE)):
        return found
    there, asked = old.get("tolerations") or [], new.get("tolerations") or []
    if any(toleration not in asked for toleration in there):
        return wrong(f"Forbidden: {CHANGEABLE}")
    return wrong(f"Forbidden: {CHANGEABLE}") if _fixed(old) != _fixed(new) else ()


def _deadline(old: Any, new: Any) -> Problems:
    """It may be set, and come nearer."""
    if new is None and old is not None:
        return wrong("Forbidden: must not update from a positive integer to nil value", _DEADLINE)
    if new is not None and old is not None and new > old:
        return wrong(f"{show(new)}: must be less than or equal to previous value", _DEADLINE)
    return ()


def _fixed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What stays as it is."""
    kept = {field: value for field, value in spec.items() if field not in (_DEADLINE, "tolerations")}
    for field in _CONTAINERS:
        if field in kept:
            kept[field] = [_without_image(container) for container in kept[field] or ()]
    if (kept.get("terminationGracePeriodSeconds") or 0) < 0:  # which the kubelet takes for 1
        kept["terminationGracePeriodSeconds"] = 1
    return {field: value for field, value in kept.items() if value not in (None, [], {})}


def _without_image(container: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in container.items() if field != "image"}


def changed_images(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a container has another image."""
    pairs = (
        pair
        for field in _CONTAINERS
        for pair in zip(old.get(field) or (), new.get(field) or (), strict=False)
    )
    return any(before.get("image") != after.get("image") for before, after in pairs)


def runs_another(run: str | None, asked: str | None) -> bool:
    """Whether the kubelet tells of another image than is asked for: of one that it runs by its whole name."""
    if not run or not asked or run == asked:
        return False
    return (image_name(run) or run) != (image_name(asked) or asked)


def program_runs_yet(pod: Object, container: Container) -> bool:
    """Whether what may be a program runs yet, of the image that a container had before."""
    statuses = (
        s for field in STATUSES for s in pod.status.get(field) or () if s.get("name") == container.name
    )
    return any(
        (s.get("state") or {}).get("running") is not None
        and (s.get("imageID") or container.words)
        and runs_another(s.get("image"), container.image)
        for s in statuses
    )
