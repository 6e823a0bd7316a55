"""Texts fitted into columns."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap

_WIDEST, _NARROWEST = 100, 60


def columns() -> int:
    """How many columns a report has: the terminal's, within limits; as many as it may have where there is none."""
    if not sys.stdout.isatty():
        return _WIDEST
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns))


def wrap(text: str, width: int, hanging: int = 0) -> list[str]:
    """A text in lines of at most `width` columns, `hanging` spaces before all but the first. Nothing is left out."""
    joined = re.sub(r"(\d) (µs|ms)\b", "\\1\xa0\\2", text)  # a number stays with its unit
    lines = textwrap.wrap(joined, width, subsequent_indent=" " * hanging, break_on_hyphens=False)
    return [line.replace("\xa0", " ") for line in lines]


def ellipsis(text: str, width: int) -> str:
    """A text shortened in its middle: the beginning says what it is, and the end which one."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def short_place(place: str, width: int) -> str:
    """A place's name for a column; a pod's namespace is told where it isn't the default one."""
    return ellipsis(place.removeprefix("default."), width)
