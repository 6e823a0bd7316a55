"""What a lab that has crashed said last: its supervisor's log, kept as `LAB.log` beside the folders of labs.

It stays until that lab ends in order or `down` is asked for, and only the newest are kept.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

from emulab.lab.folders import basedir

LOG = "supervisor.log"
_KEPT = r"[a-z0-9-]{1,40}\.log"
_MOST = 20  # logs that are kept in a base
_TAIL = 64 << 10  # bytes of each, its end
_LONGEST = 400  # letters of a line that is told
_TEXT = b"Kept by emulab: the end of the log of a lab that ended without being told to.\n"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def keep(path: Path, lab: int) -> None:
    """Keeps the log in the folder `lab` of the dead lab at `path`, if there is something in it."""
    text, at = _tail(lab, LOG)
    if not text.strip():
        return
    # A full disk takes no log, but the lab goes.
    with suppress(OSError), basedir.opened_base(path.parent) as base:
        if base is None:
            return
        name = f"{path.name}.log"
        _forget(base, name)
        with open(os.open(name, _WRITE, 0o600, dir_fd=base), "wb") as file:
            file.write(_TEXT + text)
        os.utime(name, (at, at), dir_fd=base, follow_symlinks=False)
        for _, old in sorted(_kept(base), reverse=True)[_MOST:]:
            os.unlink(old, dir_fd=base)


def forget(path: Path) -> None:
    """Removes the log that was kept of the lab, and the base's mark if nothing else is there."""
    with suppress(OSError), basedir.opened_base(path.parent) as base:
        if base is not None:
            _forget(base, f"{path.name}.log")
    basedir.unmark(path.parent)


def _forget(base: int, name: str) -> None:
    """Removes a log, if it is one that was kept here: others may have files of such names."""
    if basedir.says(base, name, _TEXT):
        os.unlink(name, dir_fd=base)


def kept(base: Path) -> list[str]:
    """The names of the labs whose logs are kept."""
    with basedir.opened_base(base) as top:
        return [] if top is None else sorted(name.removesuffix(".log") for _, name in _kept(top))


def how_it_ended(path: Path) -> str:
    """When a crashed lab was last heard of, its last line and where its log is; "" when it left none."""
    with suppress(OSError), basedir.opened_base(path.parent) as base:
        if base is not None:
            name = f"{path.name}.log"
            text, at = _tail(base, name)
            if basedir.says(base, name, _TEXT):
                moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
                said, log = _last_line(text), f"{path.parent}/{name}"
                return (
                    f"it was last heard of at {moment}, and the last line of its log is: {said} (log: {log})"
                )
    return ""


def last_line(path: Path) -> str:
    """The last line of the log in the folder of the lab at `path`; "" when there is none."""
    with suppress(OSError), basedir.opened_lab(path) as lab:
        if lab is not None:
            return _last_line(_tail(lab, LOG)[0])
    return ""


def _kept(base: int) -> list[tuple[float, str]]:
    with os.scandir(base) as entries:
        logs = [e for e in entries if re.fullmatch(_KEPT, e.name) and basedir.says(base, e.name, _TEXT)]
        return [(e.stat(follow_symlinks=False).st_mtime, e.name) for e in logs]


def _tail(folder: int, name: str) -> tuple[bytes, float]:
    """The end of a file, and when it was last written to."""
    try:
        with open(os.open(name, _READ, dir_fd=folder), "rb") as file:
            found = os.fstat(file.fileno())
            file.seek(max(0, found.st_size - _TAIL))
            return file.read(_TAIL), found.st_mtime
    except OSError:
        return b"", 0.0


def _last_line(text: bytes) -> str:
    """What can be printed of the last line, which may hold what a server was sent."""
    lines = text.decode(errors="replace").strip().splitlines()
    line = lines[-1][:_LONGEST] if lines else ""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
