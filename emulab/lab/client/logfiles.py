"""Logs as files, older ones included: read from the end, and followed while they are renewed."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple

from emulab.lab.client.logchain import LogChain, LogPart, SeekableLog
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

    def __init__(self, path: Path, wanted: Wanted, sink: Sink, prefix: str = "") -> None:
        """`prefix`: what stands before each line."""
        self._path = path
        self._wanted = wanted
        self._prefix = Prefix(prefix, sink) if prefix else None
        stamped = self._prefix.take if self._prefix else sink
        self._stamps = Stamps(path, stamped) if wanted.stamps else None
        self._sink = self._stamps.take if self._stamps else stamped
        self._log: BinaryIO | None = None

    def copy(self) -> None:
        """Hands on what there is, once it is there: of older files, too."""
        if self._log is not None:
            self._copy(self._log)
            return
        chain = LogChain(self._path)
        if not chain.parts:  # it has written nothing yet
            return
        start, end = span(chain, chain.marks(), self._wanted)
        for part in chain.parts:
            self._copy_part(part, start - part.base, None if end is None else end - part.base)
            if part is not chain.parts[-1]:
                part.file.close()
        self._log = chain.parts[-1].file

    def _copy_part(self, part: LogPart, start: int, end: int | None) -> None:
        """Hands on what of one file lies between two places in it, which may lie outside."""
        part.file.seek(min(max(0, start), part.size))
        if self._stamps:
            self._stamps.at(part.file.tell(), part.path)
        self._copy(part.file, end)

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
            self._stamps.at(fresh.tell(), self._path)
        log.close()
        self._copy(fresh)
        return fresh

    def _copy(self, log: BinaryIO, end: int | None = None) -> None:
        while chunk := log.read(CHUNK if end is None else max(0, min(CHUNK, end - log.tell()))):
            self._sink(chunk)

    def close(self) -> None:
        """Hands on the line that hasn't ended, too."""
        for lines in (self._stamps, self._prefix):
            if lines is not None:
                lines.end()
        if self._log is not None:
            self._log.close()
            self._log = None


def span(log: SeekableLog, marks: Sequence[Mark], wanted: Wanted) -> tuple[int, int | None]:
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
    chain = LogChain(path)
    chain.close()
    return len(_beginnings(chain.marks())) > 1


def _life(marks: Sequence[Mark], previous: bool) -> tuple[int, int | None]:
    begins = [0, 0, *_beginnings(marks)]
    return (begins[-2], begins[-1]) if previous else (begins[-1], None)


def _beginnings(marks: Sequence[Mark]) -> list[int]:
    begins = [mark.offset for mark in marks if mark.begins]
    return [0, *begins] if begins and begins[0] > 0 else begins  # of an older one something may be left


def line_start(log: SeekableLog, offset: int) -> int:
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

    def at(self, offset: int, path: Path) -> None:
        """What is taken next stands there, in that file; the line that was begun goes on with it."""
        self._path = path
        self._offset = offset - len(self._rest)

    def take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if lines:
            self._sink(b"".join(b"%b\n" % line for line in self._stamped(lines)))

    def end(self) -> None:
        """Nothing more comes."""
        rest, self._rest = self._rest, b""
        if rest:
            self._sink(b"".join(self._stamped([rest])))

    def _stamped(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        marks = read_marks(self._path)
        offsets = [mark.offset for mark in marks]
        for line in lines:
            at = bisect_right(offsets, max(0, self._offset)) - 1
            yield b"%b %b" % (stamp(marks[at].time if at >= 0 else 0).encode(), line)
            self._offset += len(line) + 1


_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def instant(text: str) -> int:
    """Nanoseconds of Unix time at an RFC 3339 time, to the microsecond: never later, so that the line of a stamp is
    among those since then. Raises ValueError."""
    return nanoseconds_at(datetime.fromisoformat(text))


def nanoseconds_at(at: datetime) -> int:
    """Nanoseconds of Unix time, exactly; a float has no room for them."""
    return (at.replace(tzinfo=at.tzinfo or UTC) - _EPOCH) // _MICROSECOND * 1000


def stamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, as Kubernetes stamps lines."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z"


class Prefix:
    """Hands on whole lines, each with a prefix."""

    def __init__(self, prefix: str, sink: Sink) -> None:
        self._start = prefix.encode(errors="replace")
        self._sink = sink
        self._rest = b""

    def take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if lines:
            self._sink(b"".join(self._start + line + b"\n" for line in lines))

    def end(self) -> None:
        """Nothing more comes."""
        rest, self._rest = self._rest, b""
        if rest:
            self._sink(self._start + rest)


def limited(octets: int, sink: Sink) -> Sink:
    """Hands on no more than so many octets."""
    left = octets

    def take(chunk: bytes) -> None:
        nonlocal left
        if left > 0:
            sink(chunk[:left])
            left -= len(chunk)

    return take


def tail_offset(log: SeekableLog, lines: int, end: int | None = None) -> int:
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
