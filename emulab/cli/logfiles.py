"""Logs as files: read from the end, and followed while they are renewed."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from emulab.servers.logs.marks import Mark, read_marks

CHUNK = 1 << 16
PAUSE = 0.1  # seconds between two looks at a log that is followed

Sink = Callable[[bytes], None]


class Wanted(NamedTuple):
    """What of a log is wanted of what is there."""

    tail: int | None = None  # so many last lines
    since: int | None = None  # no older ones; nanoseconds of Unix time
    previous: bool = False  # of the life before the last one alone
    lives: bool = False  # it is a container's, of which the last life alone is wanted
    stamps: bool = False  # with the time of each line


class FollowedLog:
    """One log, of which `copy` hands on what has come since."""

    def __init__(self, path: Path, wanted: Wanted, sink: Sink) -> None:
        self._path = path
        self._wanted = wanted
        self._stamps = Stamps(path, sink) if wanted.stamps else None
        self._sink = self._stamps.take if self._stamps else sink
        self._log: BinaryIO | None = None

    def copy(self) -> None:
        """Hands on what there is of the newest file, once it is there."""
        if self._log is not None:
            self._copy(self._log)
            return
        if not self._path.exists():  # it has written nothing yet
            return
        self._log = self._path.open("rb")
        start, end = span(self._log, read_marks(self._path), self._wanted)
        self._log.seek(start)
        if self._stamps:
            self._stamps.at(start)
        self._copy(self._log, end)

    def follow(self) -> bool:
        """Hands on what has come; whether more may come."""
        if self._log is None:
            self.copy()
            return self._path.parent.exists()
        if not self._path.exists():
            return False
        self._log = self._renewed(self._log)
        return True

    def _renewed(self, log: BinaryIO) -> BinaryIO:
        """Copies what has come since, and returns the log to go on with: as `kubectl logs -f`, the newest one.

        A log that is full makes room for a new one and isn't written to any more. The line in which it ended has moved
        to the new one; as much of it as is copied already is passed over there.
        """
        self._copy(log)
        try:
            fresh = self._path.open("rb")
        except FileNotFoundError:
            return log
        if os.path.samestat(os.fstat(fresh.fileno()), os.fstat(log.fileno())):
            fresh.close()
            return log
        time.sleep(PAUSE)  # the moment in which the line is in both
        self._copy(log)
        fresh.seek(max(0, log.tell() - os.fstat(log.fileno()).st_size))
        if self._stamps:
            self._stamps.at(fresh.tell())
        log.close()
        self._copy(fresh)
        return fresh

    def _copy(self, log: BinaryIO, end: int | None = None) -> None:
        while chunk := log.read(CHUNK if end is None else max(0, min(CHUNK, end - log.tell()))):
            self._sink(chunk)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def span(log: BinaryIO, marks: Sequence[Mark], wanted: Wanted) -> tuple[int, int | None]:
    """Where what is wanted begins in a log and where it ends, None for its end."""
    start, end = _life(marks, wanted.previous) if wanted.lives else (0, None)
    if wanted.since is not None:
        later = next((mark.offset for mark in marks if mark.time >= wanted.since), None)
        size = log.seek(0, 2)
        start = max(start, size if later is None else line_start(log, later))
    if wanted.tail is not None:
        start = max(start, tail_offset(log, wanted.tail, end))
    return start, end


def has_previous(path: Path) -> bool:
    """Whether there is something of the life before the last one."""
    return len(_beginnings(read_marks(path))) > 1


def _life(marks: Sequence[Mark], previous: bool) -> tuple[int, int | None]:
    begins = [0, 0, *_beginnings(marks)]
    return (begins[-2], begins[-1]) if previous else (begins[-1], None)


def _beginnings(marks: Sequence[Mark]) -> list[int]:
    begins = [mark.offset for mark in marks if mark.begins]
    return [0, *begins] if begins and begins[0] > 0 else begins  # of an older one something may be left


def line_start(log: BinaryIO, offset: int) -> int:
    """Where the first line begins that doesn't begin before the offset."""
    if offset == 0:
        return 0
    log.seek(offset - 1)
    while chunk := log.read(CHUNK):
        if (at := chunk.find(b"\n")) >= 0:
            return offset + at
        offset += len(chunk)
    return log.tell()


class Stamps:
    """Hands on whole lines, each with the time at which it came."""

    def __init__(self, path: Path, sink: Sink) -> None:
        self._path = path
        self._sink = sink
        self._offset = 0
        self._rest = b""

    def at(self, offset: int) -> None:
        """What is taken next stands there; the line that was begun goes on with it."""
        self._offset = offset - len(self._rest)

    def take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if not lines:
            return
        marks = read_marks(self._path)
        offsets = [mark.offset for mark in marks]
        stamped = []
        for line in lines:
            at = bisect_right(offsets, max(0, self._offset)) - 1
            stamped.append(b"%b %b\n" % (stamp(marks[at].time if at >= 0 else 0).encode(), line))
            self._offset += len(line) + 1
        self._sink(b"".join(stamped))


def stamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, as Kubernetes stamps lines."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z"


def prefixed(prefix: str, sink: Sink) -> Sink:
    """Hands on whole lines, each with a prefix."""
    start, rest = prefix.encode(errors="replace"), b""

    def take(chunk: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            sink(b"".join(start + line + b"\n" for line in lines))

    return take


def tail_offset(log: BinaryIO, lines: int, end: int | None = None) -> int:
    """Where the last `lines` lines begin, read from the end, or from where it is to be."""
    end = log.seek(0, 2) if end is None else end
    if lines == 0:
        return end
    position, missing, last = end, lines, True
    while position > 0:
        start = max(0, position - CHUNK)
        log.seek(start)
        block = log.read(position - start)
        at = len(block)
        if last and block.endswith(b"\n"):
            at -= 1  # the newline that ends the last line begins none
        last = False
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            missing -= 1
            if missing == 0:
                return start + at + 1
        position = start
    return 0
