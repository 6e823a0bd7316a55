"""When what stands in a log was printed, and where a container's lives begin in it: a file beside each of a log's.

Each mark says of an octet of the log when it came; all up to the next mark came with it. Marks are a millisecond apart
at the least, so who prints fast costs little, and who prints a line now and then has the time of each.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_MARK = struct.Struct("<QQ")  # where, with the highest bit for a beginning; Unix time in nanoseconds
_BEGINS = 1 << 63
_APART = 1_000_000  # nanoseconds
_OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Mark(NamedTuple):
    offset: int
    time: int  # nanoseconds
    begins: bool = False  # a life of who prints


def marks_name(log: str) -> str:
    """The name of the file of a log's marks."""
    return f".{log}.marks"


def read_marks(log: Path) -> list[Mark]:
    """The marks of a log; none where there is no such file."""
    try:
        return _decoded(log.with_name(marks_name(log.name)).read_bytes())
    except OSError:
        return []


def _decoded(data: bytes) -> list[Mark]:
    whole = len(data) - len(data) % _MARK.size
    return [
        Mark(where & ~_BEGINS, at, bool(where & _BEGINS)) for where, at in _MARK.iter_unpack(data[:whole])
    ]


def _encoded(mark: Mark) -> bytes:
    return _MARK.pack(mark.offset | (_BEGINS if mark.begins else 0), mark.time)


class MarkFile:
    """The marks of one log in `folder`, a descriptor. Where there is no room for them, there are fewer."""

    def __init__(self, folder: int, log: str) -> None:
        self._folder = folder
        self._log = log
        self._name = marks_name(log)
        self._fd = -1
        self._last = 0

    def note(self, offset: int) -> None:
        """Something comes now that will stand there."""
        now = time.time_ns()
        if not 0 <= now - self._last < _APART:
            self._write(Mark(offset, now))

    def begin(self, offset: int) -> None:
        """A life begins now whose first word will stand there."""
        self._write(Mark(offset, time.time_ns(), begins=True))

    @property
    def begun(self) -> bool:
        """Whether it is known where a life begins."""
        try:
            self._open()
            data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        except OSError:
            return False
        return any(mark.begins for mark in _decoded(data))

    def renew(self, offset: int, files: int) -> None:
        """The log begins anew with what stood from there on; what stood before is in the first of its older files, of
        which there are so many with the newest."""
        with suppress(OSError):
            self._open()
            old = _decoded(os.pread(self._fd, os.fstat(self._fd).st_size, 0))
            before = [mark for mark in old if mark.offset <= offset and not mark.begins]
            kept = [mark._replace(offset=mark.offset - offset) for mark in old if mark.offset > offset]
            kept += [Mark(0, mark.time, True) for mark in old if mark.begins and mark.offset == offset]
            first = [before[-1]._replace(offset=0)] if before else []
            past = [
                mark for mark in old if mark.offset < offset or (mark.offset == offset and not mark.begins)
            ]
            self._shift(b"".join(map(_encoded, past)), files)
            data = b"".join(map(_encoded, sorted([*first, *kept])))
            os.ftruncate(self._fd, 0)
            os.write(self._fd, data)

    def _shift(self, newest: bytes, files: int) -> None:
        """Has the marks of each older file beside it, `newest` those of the first of them."""
        for number in reversed(range(1, files - 1)):
            with suppress(FileNotFoundError):
                os.rename(
                    *(self._older(number), self._older(number + 1)),
                    src_dir_fd=self._folder,
                    dst_dir_fd=self._folder,
                )
        with suppress(OSError):  # no room for it: the newest's are worth more
            fd = os.open(self._older(1), _OPEN | os.O_TRUNC, 0o600, dir_fd=self._folder)
            try:
                os.write(fd, newest)
            finally:
                os.close(fd)

    def _older(self, number: int) -> str:
        return marks_name(f"{self._log}.{number}")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self, files: int) -> None:
        """Removes the marks of a log that has so many files."""
        self.close()
        for name in (self._name, *map(self._older, range(1, files))):
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder)

    def _write(self, mark: Mark) -> None:
        with suppress(OSError):
            self._open()
            os.write(self._fd, _encoded(mark))
            self._last = mark.time

    def _open(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self._name, _OPEN, 0o600, dir_fd=self._folder)
