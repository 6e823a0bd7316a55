"""What is mounted where in this process's mount namespace (proc_pid_mountinfo(5)).

Who may mount names the folders, with whatever octets that aren't `/` and null: the kernel escapes space, tab, newline
and backslash, and no other of what a text is commonly split at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

_ESCAPED = re.compile(r"\\([0-7]{3})")


class MountEntry(NamedTuple):
    root: str  # what of the file system is seen at its top
    point: str
    kind: str  # of the file system
    options: str  # of the file system, not of the mount


def read() -> list[MountEntry]:
    """Blocks. Raises OSError."""
    with open("/proc/self/mountinfo", "rb") as table:
        return [*entries(os.fsdecode(table.read()))]


def entries(text: str) -> Iterator[MountEntry]:
    """The lines of a table."""
    for line in text.split("\n"):
        before, separator, after = line.partition(" - ")
        if separator:
            words, (kind, _, options) = before.split(" "), [*after.split(" ", 2), "", ""][:3]
            yield MountEntry(_plain(words[3]), _plain(words[4]), kind, options)


def _plain(escaped: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), escaped)
