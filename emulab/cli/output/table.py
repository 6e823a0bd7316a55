"""Columns of text as kubectl sets them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emulab.cli.output.escapes import printable

GAP = 3  # spaces between columns


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
