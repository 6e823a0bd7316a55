"""How haproxy.cfg is written. Pure."""

from __future__ import annotations

import re

CfgLines = list[str]

_PLAIN = re.compile(r"[A-Za-z0-9_./:@+=*-]+")


def quoted(text: str) -> str:
    """A text as one word, in which nothing is expanded: neither variables, nor what formats know."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def in_format(text: str) -> str:
    """The same where formats are expanded (`%[…]`)."""
    return quoted(text.replace("%", "%%"))


def milliseconds(value: float) -> str:
    """A time."""
    return f"{max(1, round(value * 1000))}ms"
