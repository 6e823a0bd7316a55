"""Columns of text as kubectl sets them."""

from __future__ import annotations

from collections.abc import Sequence

GAP = 3  # spaces between columns


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A header and rows, each column as wide as its widest cell, the last one as it is."""
    lines = [list(header), *([*row] for row in rows)]
    widths = [max(len(cell) for cell in column) + GAP for column in zip(*lines, strict=True)]
    return "\n".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
