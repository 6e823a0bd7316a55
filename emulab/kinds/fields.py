"""What the descriptions of objects are made of. Pure.

A description is a list of fields, `(label, value)`. A value is a text, a list of texts that stand below each
other beside the label, or a list of fields, or of lines, that stand below the label, indented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union

from emulab.kinds.cells import NONE, Raw


class LinesBelow(NamedTuple):
    """Whole lines, which stand indented below the label; `beside` stands beside it."""

    beside: str
    below: list[str]


Value = Union[str, list[str], LinesBelow, "Fields"]
Fields = list[tuple[str, "Value"]]
Slices = Sequence[Raw]
"""The EndpointSlices of the object's namespace; for a Node, all Pods; for an Ingress, the Secrets there, too."""


def aligned(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, with a rule below its titles."""
    cells = [titles, ["-" * len(title) for title in titles], *rows]
    widths = [max(map(len, column)) + 2 for column in zip(*cells, strict=True)]
    return ["".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def pairs(mapping: Mapping[str, Any] | None, between: str = "=") -> list[str]:
    return [f"{k}{between}{v}" for k, v in sorted((mapping or {}).items())]


def conditions(o: Raw) -> Fields:
    found: list[str] = []
    for c in (o.get("status") or {}).get("conditions") or ():
        why = ": ".join(str(c[k]) for k in ("reason", "message") if c.get(k))
        found.append(f"{c['type']}={c['status']}" + (f" ({why})" if why else ""))
    return [("Conditions", found)] if found else []


def generic(o: Raw, _: Slices) -> Fields:
    """Spec and status as they are."""
    fields: Fields = []
    for part in ("spec", "status"):
        if o.get(part):
            fields.append((part.title(), _tree(o[part])))
    return fields


def _tree(value: Any) -> Value:
    if isinstance(value, Mapping):
        return [(str(k), _tree(v)) for k, v in value.items()] or NONE
    if isinstance(value, list | tuple):
        if any(isinstance(v, Mapping) for v in value):
            return [(str(index), _tree(v)) for index, v in enumerate(value)]
        return [str(v) for v in value]
    return str(value)
