"""Checks of values by a definition of the table.

A kind's module lays over them what the definition can't say, which is what the API server's validation says in code:
that a number is a port, how fields go together. So `typed` is `mapping` whose fields are known already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from emulab.kinds.openapi import table
from emulab.model.checks import (
    Check,
    Problems,
    Rule,
    anything,
    base64,
    boolean,
    mapping,
    sequence,
    show,
    string,
    string_map,
    whole_number,
    wrong,
)

_QUANTITY = r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)"


def quantity(value: Any) -> Problems:
    """Apimachinery's `resource.Quantity`: 100m, 1.5Gi or a number."""
    text = value if type(value) is str else str(value) if type(value) in (int, float) else None
    if text is None:
        return wrong(f"{show(value)} is not a quantity such as 100m or 1Gi")
    if re.fullmatch(_QUANTITY, text) and text.strip("+-.")[:1].isdigit():
        return ()
    return wrong(f"{show(value)}: quantities must match the regular expression '^{_QUANTITY}$'")


def _number(value: Any) -> Problems:
    return () if type(value) in (int, float) else wrong(f"{show(value)} is not a number")


def _int_or_string(value: Any) -> Problems:
    if type(value) is str or type(value) is int:
        return ()
    return wrong(f"{show(value)} is neither a number nor a string")


_SCALARS: dict[str, Check] = {
    "any": anything,
    "boolean": boolean,
    "bytes": base64,
    "double": _number,
    "int-or-string": _int_or_string,
    "int32": whole_number(31),
    "int64": whole_number(63),
    "quantity": quantity,
    "string": string,
    "time": string,
}


def typed(
    definition: str,
    checks: Mapping[str, Check] | None = None,
    required: Sequence[str] = (),
    rules: Sequence[Rule] = (),
    optional: Sequence[str] = (),
) -> Check:
    """A value of that definition (`table.resolve`): it has no other fields, and each is of its type.

    `checks`: fields of which more is to be said. `required`: those that are needed besides the definition's own.
    `optional`: those of the definition's own that the API server does without.
    """

    def make() -> Check:
        known = table.fields(table.resolve(definition))
        if unknown := (checks or {}).keys() - known:
            raise LookupError(f"{definition} has no field {', '.join(sorted(unknown))}")
        fields = {name: _of_type(field.type) for name, field in known.items()}
        needed = [name for name, field in known.items() if field.required and name not in optional]
        return mapping(
            {**fields, **(checks or {})}, [*dict.fromkeys((*needed, *required))], rules, closed=True
        )

    return _once(make)


def _once(make: Callable[[], Check]) -> Check:
    """A check that is made when it is first needed: who lists objects loads their schemas, and checks none."""
    made: Check | None = None

    def check(value: Any) -> Problems:
        nonlocal made
        if made is None:
            made = make()
        return made(value)

    return check


@cache
def _of_type(name: str) -> Check:
    if name in _SCALARS:
        return _SCALARS[name]
    if name.startswith("["):
        return sequence(_of_type(name[1:-1]))
    if name.startswith("{"):
        inner = name[1:-1]
        return string_map() if inner == "string" else _map(_of_type(inner))
    return typed(name)


def _map(item: Check) -> Check:
    def check(value: Any) -> Problems:
        if type(value) is not dict:
            return wrong(f"{show(value)} is not a mapping")
        return [((name, *path), why) for name, inner in value.items() for path, why in item(inner)]

    return check
