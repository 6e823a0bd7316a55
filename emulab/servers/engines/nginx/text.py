"""How nginx.conf is written. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

ConfLines = list[str]

_LONGEST = float(1 << 31)
"""Seconds, 68 years: nginx counts milliseconds."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=*\[\]-]+")


def quoted(text: str) -> str:
    """A text as one parameter of a directive: as it is where that is safe. A dollar sign in it stands for itself."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "${literal_dollar}")
    return f'"{escaped}"'


def pattern(text: str) -> str:
    """A regular expression as one parameter, in which a dollar sign means what it means in expressions."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def directive(name: str, *parameters: object) -> str:
    """`name parameter …;`; what is written with variables in it is given as it is."""
    return " ".join([name, *map(str, parameters)]) + ";"


def block(head: str, lines: Iterable[str]) -> ConfLines:
    """A block with its lines indented."""
    return [f"{head} {{", *(f"    {line}" if line else "" for line in lines), "}"]


def seconds(value: float) -> str:
    """A time, in seconds."""
    value = min(value, _LONGEST)
    return f"{round(value * 1000)}ms" if value % 1 else f"{int(value)}s"


def on(value: bool) -> str:
    """`on` or `off`."""
    return "on" if value else "off"
