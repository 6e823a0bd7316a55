"""LimitRanges (`ValidateLimitRange`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import kind_table, table
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import LIMIT_RANGE
from emulab.model.checks import Problems, dns_subdomain, sequence, unique, wrong
from emulab.model.quantity import Quantity, parse_quantity

_ORDER = (
    ("min", "max", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {} is greater than max value {}"),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "default request value {} is greater than default limit value {}",
    ),
    ("min", "default", "default", "min value {} is greater than default value {}"),
    ("default", "max", "default", "default value {} is greater than max value {}"),
)
"""What may not be more than what, at which field it is told, and how."""


def _amounts(item: Mapping[str, Any], field: str) -> dict[str, Quantity]:
    return {name: parse_quantity(value) for name, value in (item.get(field) or {}).items()}


def _item(item: dict[str, Any]) -> Problems:
    found: list[Any] = []
    if item["type"] == "Pod":
        for field in ("default", "defaultRequest"):
            if item.get(field):
                found += wrong("may not be specified when `type` is 'Pod'", field)
    has_storage = any("storage" in (item.get(field) or {}) for field in ("min", "max"))
    if item["type"] == "PersistentVolumeClaim" and not has_storage:
        found += wrong("either minimum or maximum storage value is required, but neither was provided")
    for less, more, where, why in _ORDER:
        above = _amounts(item, more)
        for name, amount in _amounts(item, less).items():
            if name in above and amount.value > above[name].value:
                found += wrong(why.format(amount, above[name]), where, name)
    for name, ratio in _amounts(item, "maxLimitRequestRatio").items():
        if ratio.value < 1:
            found += wrong(f"ratio {ratio} is less than 1", "maxLimitRequestRatio", name)
    return found


def with_item_defaults(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """An item with what an API server writes into it (`SetDefaults_LimitRangeItem`)."""
    if item.get("type") != "Container":
        return item
    default = {**(item.get("max") or {}), **(item.get("default") or {})}
    request = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
    return {**item, "default": default, "defaultRequest": request}


def _cells(o: Raw, _: float) -> Cells:
    return [cells.name(o), str(o["metadata"].get("creationTimestamp") or "<unknown>")], []


_RESOURCES = ("min", "max", "defaultRequest", "default", "maxLimitRequestRatio")


def _describe(o: Raw, _: Slices) -> Fields:
    found: Fields = []
    for item in map(with_item_defaults, cells.spec(o).get("limits") or ()):
        names = sorted({name for field in _RESOURCES for name in item.get(field) or {}})
        lines = [
            f"{name}: "
            + ", ".join(f"{field} {(item.get(field) or {}).get(name, '-')}" for field in _RESOURCES)
            for name in names
        ]
        found.append((str(item.get("type")), lines))
    return found


_spec = typed(
    "core.v1.LimitRangeSpec",
    {"limits": sequence(typed("core.v1.LimitRangeItem", rules=(_item,)), rules=(unique("type"),))},
)
DEFINITION = Definition(
    check=whole(LIMIT_RANGE, dns_subdomain, _spec),
    fields=kind_table(spec=table("limits")),
    columns=Columns(("NAME", "CREATED AT"), (), _cells),
    describe=_describe,
)
