"""How haproxy.cfg is written. Pure."""

from __future__ import annotations

import re

from emulab.servers.engines.shared import bounded

CfgLines = list[str]

_LONGEST = (1 << 31) - 1
"""Milliseconds, 24 days."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+=*-]+")


def quoted(text: str) -> str:
    """A text as one word, in which nothing is expanded: neither variables, nor what formats know."""
    if _PLAIN.fullmatch(text):
        return text
    # No zero byte is in anything that HAProxy sees, nor may there be one in its configuration.
    escaped = text.replace("\0", "?").replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'


def looked_for(text: str) -> str:
    """A text as what a condition looks for: one that begins with a dash is no option of the condition."""
    return f"-- {quoted(text)}" if text.startswith("-") else quoted(text)


def in_format(text: str) -> str:
    """The same where formats are expanded (`%[…]`)."""
    return quoted(text.replace("%", "%%"))


def milliseconds(value: float) -> str:
    """A time."""
    return f"{bounded(round(value * 1000), _LONGEST, 1)}ms"
