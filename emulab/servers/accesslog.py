"""What access logs have in common, whoever writes them (`journal`). Pure but for the clock."""

from __future__ import annotations

import time

OWN = "own"
"""The one log of a server that has a log of its own."""


def when() -> str:
    """The time as access logs have it."""
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())


def escaped(text: str) -> str:
    """A text between quotation marks, as nginx has it there."""
    return text.replace('"', "\\x22")
