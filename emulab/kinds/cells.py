"""What the cells of kubectl's tables are made of. Pure.

Column names and contents are those of kubernetes/pkg/printers/internalversion/printers.go; emulab's own kinds follow
suit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.kinds import ages

Raw = Mapping[str, Any]
Cells = tuple[list[str], list[str]]

NONE = "<none>"


class Columns(NamedTuple):
    """The table of a kind: headers of the narrow one, headers that wide adds, and what makes the cells of both."""

    narrow: Sequence[str]
    wide: Sequence[str]
    cells: Callable[[Raw, float], Cells]


def socket_name(address: str, port: object) -> str:
    """`10.0.0.1:80` or `[fd00::1]:80`; as `emulab.model.addresses` has it, which lists load without."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def name(o: Raw) -> str:
    return str(o["metadata"]["name"])


def spec(o: Raw) -> Raw:
    return o.get("spec") or {}


def status(o: Raw) -> Raw:
    return o.get("status") or {}


def age(o: Raw, now: float) -> str:
    return ages.age(o["metadata"].get("creationTimestamp"), now)


def labels(labels: Mapping[str, Any] | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def selector_text(selector: Raw | None) -> str:
    """A LabelSelector as kubectl prints it: `app=web,tier in (a,b),!canary`."""
    selector = selector or {}
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for e in selector.get("matchExpressions") or ():
        values = ",".join(e.get("values") or ())
        words = {
            "In": f"{e['key']} in ({values})",
            "NotIn": f"{e['key']} notin ({values})",
            "Exists": e["key"],
        }
        parts.append(words.get(e["operator"], f"!{e['key']}"))
    return ",".join(parts) or NONE


def number(mapping: Raw, field: str, default: int = 0) -> int:
    value = mapping.get(field)
    return default if value is None else int(value)


def name_and_age(o: Raw, now: float) -> Cells:
    return [name(o), age(o, now)], []


NAME_AND_AGE = Columns(("NAME", "AGE"), (), name_and_age)
"""What a kind has of which nothing else is to be seen at once."""
