"""Columns of text as kubectl sets them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emulab.observe.telling.escapes import printable

GAP = 3  # spaces between columns
NARROWEST = 6  # letters of a column with its gap (cli-runtime's printers/tabwriter.go)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A header and rows, each column as wide as its widest cell, the last one as it is."""
    lines = [list(header), *([_cell(text) for text in row] for row in rows)]
    widths = [max(len(cell) for cell in column) + GAP for column in zip(*lines, strict=True)]
    return "\n".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(text: str) -> str:
    """A cell on one line: of more lines the first, and `...`, as in kubectl's printer of tables."""
    line, *more = re.split(r"[\n\r\f]", text, maxsplit=1)
    return printable(line) + ("..." if more else "")


class GrowingTable:
    """A table whose rows come one after the other: columns only get wider, as those of `kubectl get --watch`."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def lines(self, rows: Sequence[Sequence[str]]) -> str:
        """Rows, a header among them, on a line each."""
        cells = [[_cell(text) for text in row] for row in rows]
        widths = [max(NARROWEST, max(map(len, column)) + GAP) for column in zip(*cells, strict=True)]
        if len(widths) == len(self._widths):
            widths = list(map(max, widths, self._widths))
        self._widths = widths
        return "".join(
            "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
            for row in cells
        )
