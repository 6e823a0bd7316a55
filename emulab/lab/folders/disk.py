"""Files of a lab on a disk that may be full, and the supervisor's own log, which ends nothing when it is."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emulab.errors import KernelError

_ROOM = "make room there, or let EMULAB_RUN_DIR name a folder elsewhere"
REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
"""Error number → what to do about it."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the system in this block say which file they are about: write(2) doesn't know. Raises KernelError."""
    try:
        yield
    except OSError as error:
        raise refused(error, path) from None


def refused(error: OSError, path: Path | str) -> KernelError:
    """What the system has against a file, with what to do where its disk is full."""
    number = error.errno or 0
    # Else it is relative to a descriptor.
    known = isinstance(error.filename, str) and os.path.isabs(error.filename)
    return KernelError(
        f"write {error.filename if known else path}", errno=number, remedy=REMEDIES.get(number, "")
    )


class OwnLog(io.TextIOBase):
    """Standard output and error of a supervisor. What a full disk doesn't take is lost, and nobody is stopped."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            os.write(1, text.encode(errors="backslashreplace"))
        return len(text)

    def fileno(self) -> int:
        return 1


def speak_to_log() -> None:
    """Lets all that this process prints go to the log."""
    sys.stdout = sys.stderr = OwnLog()
