"""What a Cluster may say of a node's resources."""

from __future__ import annotations

from typing import Any

from emulab.kinds.openapi.typed import quantity
from emulab.model.checks import Problems, at, show, wrong
from emulab.model.paths import FieldPath

_NATIVE = ("cpu", "ephemeral-storage", "memory", "pods")


def capacity(value: Any) -> Problems:
    """By resource a quantity, not below zero; what isn't a processor's or an octet's is a whole number."""
    if type(value) is not dict:
        return wrong(f"{show(value)} is not a mapping")
    found: list[tuple[FieldPath, str]] = []
    for name, amount in value.items():
        found += at(name, quantity(amount) or _of_resource(name, amount))
    return found


def _of_resource(name: str, amount: Any) -> Problems:
    from emulab.model.quantity import parse_quantity  # exact arithmetic, which few need

    if name not in _NATIVE and not name.startswith("hugepages-") and "/" not in name:
        return wrong(
            f"is no resource: {', '.join(_NATIVE)}, hugepages-SIZE, or a name with a domain, example.com/gpu"
        )
    number = parse_quantity(amount).value
    if number < 0:
        return wrong("must be greater than or equal to 0")
    return wrong("must be an integer") if name != "cpu" and number.denominator != 1 else ()
