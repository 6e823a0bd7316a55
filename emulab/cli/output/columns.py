"""kubectl's table of each kind, from raw objects. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.cells import Raw
from emulab.kinds.kind import Kind


def rows(kind: Kind, objects: Sequence[Raw], now: float, wide: bool) -> tuple[list[str], list[list[str]]]:
    """The header and one row for each object of a kind."""
    columns = kind.definition.columns
    header = [*columns.narrow, *(columns.wide if wide else ())]
    lines = []
    for o in objects:
        narrow, more = columns.cells(o, now)
        lines.append([*narrow, *(more if wide else ())])
    return header, lines
