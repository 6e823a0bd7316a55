"""What a container says of its own end, in a file that is there for that: `terminationMessagePath`.

pkg/kubelet/kuberuntime/kuberuntime_container.go. Where it says nothing and ends badly, the end of its log does with the
policy FallbackToLogsOnError, and else the last line of it, which a kubelet leaves to who reads the log.
"""

from __future__ import annotations

import os
from pathlib import Path

from emulab.kernel.containers.root import Bind
from emulab.servers.logs.marks import read_marks

_MOST = 4096  # octets (`MaxContainerTerminationMessageLength`)
_MOST_OF_LOG, _LINES_OF_LOG = 2048, 80  # `MaxContainerTerminationMessageLogLength` and `…LogLines`
_LAST_WORDS = 1024  # octets


def fresh(file: Path, target: str) -> Bind:
    """An empty file, which a container sees at that path. Blocks. Raises OSError."""
    file.unlink(missing_ok=True)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    file.chmod(0o666)  # whoever the container runs as
    return Bind(str(file), target)


def read(file: Path | None) -> str:
    """What the container has written there. Blocks."""
    if file is None:
        return ""
    try:
        with open(file, "rb") as said:
            return said.read(_MOST).decode(errors="replace")
    except OSError:
        return ""


def from_log(path: Path) -> str:
    """The last lines that the last life of a container printed. Blocks."""
    return "".join(_printed_last(path, _MOST_OF_LOG).splitlines(keepends=True)[-_LINES_OF_LOG:])


def last_words(path: Path) -> str:
    """The last line that says anything of those. Blocks."""
    lines = _printed_last(path, _LAST_WORDS).splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _printed_last(path: Path, most: int) -> str:
    """What the last life of a container printed last, in the newest file of its log: so many octets at the most."""
    begun = max((mark.offset for mark in read_marks(path) if mark.begins), default=0)
    try:
        with path.open("rb") as log:
            log.seek(max(begun, os.fstat(log.fileno()).st_size - most))
            return log.read(most).decode(errors="replace")
    except OSError:
        return ""
