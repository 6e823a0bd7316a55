"""ResourceQuotas (`ValidateResourceQuota`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.kind import COUNTED
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import KINDS, RESOURCE_QUOTA
from emulab.model.checks import Problems, dns_subdomain, one_of, sequence, wrong
from emulab.model.quantity import parse_quantity

if TYPE_CHECKING:
    from emulab.model.objects import Object

CLAIM_SCOPE = "VolumeAttributesClass"
"""The scope that is about PersistentVolumeClaims; all others are about Pods."""
_SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    CLAIM_SCOPE,
)
_NAMING = ("PriorityClass", CLAIM_SCOPE)  # scopes whose values are names
_OF_PODS = (
    "pods",
    *(f"{which}{what}" for which in ("", "requests.", "limits.") for what in ("cpu", "memory")),
)
_OF_CLAIMS = ("persistentvolumeclaims", "requests.storage")
_OTHERS = (
    *("services.nodeports", "services.loadbalancers"),
    *("ephemeral-storage", "requests.ephemeral-storage", "limits.ephemeral-storage"),
)
"""Standard names of what a quota limits (`IsStandardQuotaResourceName`), by whose scopes they go with; the plurals of
kinds that are counted come beside."""
_scope = one_of(*_SCOPES)
_EXCLUDING = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))


def _hard(spec: dict[str, Any]) -> Problems:
    found: list[Any] = []
    for name, value in (spec.get("hard") or {}).items():
        if parse_quantity(value).value < 0:
            found += wrong("must be greater than or equal to 0", "hard", name)
        is_count = name.startswith("count/") or ("." not in name.partition("/")[0] and name.endswith("s"))
        if is_count and parse_quantity(value).value.denominator != 1:
            found += wrong("must be an integer", "hard", name)
    return found


def _scopes(spec: dict[str, Any]) -> Problems:
    given = set(spec.get("scopes") or ())
    standard = (*_OF_PODS, *_OF_CLAIMS, *_OTHERS, *(kind.plural for kind in KINDS.of(COUNTED)))
    names = [name for name in spec.get("hard") or () if name in standard]
    for scope in sorted(given):
        fitting = _OF_CLAIMS if scope == CLAIM_SCOPE else ("pods",) if scope == "BestEffort" else _OF_PODS
        if any(name not in fitting for name in names):
            return wrong(f"{scope}: unsupported scope applied to resource", "scopes")
    return [(("scopes",), "conflicting scopes") for pair in _EXCLUDING if given.issuperset(pair)]


def _expression(expression: dict[str, Any]) -> Problems:
    if expression["scopeName"] not in _NAMING and expression["operator"] != "Exists":
        others = ", ".join(scope for scope in _SCOPES if scope not in _NAMING)
        return wrong(f"must be 'Exists' when scope is any of {others}", "operator")
    needs = expression["operator"] in ("In", "NotIn")
    if needs and not expression.get("values"):
        return wrong(
            "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector", "values"
        )
    if not needs and expression.get("values"):
        return wrong(
            "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector", "values"
        )
    return ()


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    for field in ("scopes",):
        if sorted(old.spec.get(field) or ()) != sorted(spec.get(field) or ()):
            raise UserError(f"{new.position}: {new.key} spec.{field}: field is immutable")
    return spec


def _cells(o: Raw, now: float) -> Cells:
    status = cells.status(o)
    hard, used = status.get("hard") or {}, status.get("used") or {}
    texts: dict[bool, list[str]] = {False: [], True: []}
    for name in sorted(hard):
        texts["limits." in name].append(f"{name}: {used.get(name, 0)}/{hard[name]}")
    return [cells.name(o), ", ".join(texts[False]), ", ".join(texts[True]), cells.age(o, now)], []


def _describe(o: Raw, _: Slices) -> Fields:
    status = cells.status(o)
    hard, used = status.get("hard") or {}, status.get("used") or {}
    found: Fields = [(name, f"{used.get(name, 0)} of {hard[name]}") for name in sorted(hard)]
    scopes = cells.spec(o).get("scopes")
    return [("Scopes", ", ".join(scopes)), *found] if scopes else found


_spec = typed(
    "core.v1.ResourceQuotaSpec",
    {
        "scopes": sequence(_scope),
        "scopeSelector": typed(
            "core.v1.ScopeSelector",
            {
                "matchExpressions": sequence(
                    typed(
                        "core.v1.ScopedResourceSelectorRequirement",
                        {"scopeName": _scope, "operator": one_of("In", "NotIn", "Exists", "DoesNotExist")},
                        rules=(_expression,),
                    )
                )
            },
        ),
    },
    rules=(_hard, _scopes),
)
DEFINITION = Definition(
    check=whole(RESOURCE_QUOTA, dns_subdomain, _spec, optional_spec=True),
    merge=_merge,
    fields=kind_table(spec=table("hard scopeSelector scopes")),
    columns=Columns(("NAME", "REQUEST", "LIMIT", "AGE"), (), _cells),
    describe=_describe,
)
