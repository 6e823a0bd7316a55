"""Logs as files: read from the end, and followed while they are renewed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 16
PAUSE = 0.1  # seconds between two looks at a log that is followed

Sink = Callable[[bytes], None]


class FollowedLog:
    """One log, of which `copy` hands on what has come since."""

    def __init__(self, path: Path, tail: int | None, sink: Sink) -> None:
        """`tail`: how many lines are handed on of what is there, None for all."""
        self._path = path
        self._tail = tail
        self._sink = sink
        self._log: BinaryIO | None = None

    def copy(self) -> None:
        """Hands on what there is of the newest file, once it is there."""
        if self._log is None:
            if not self._path.exists():  # it has written nothing yet
                return
            self._log = self._path.open("rb")
            if self._tail is not None:
                self._log.seek(tail_offset(self._log, self._tail))
        self._copy(self._log)

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
        log.close()
        self._copy(fresh)
        return fresh

    def _copy(self, log: BinaryIO) -> None:
        while chunk := log.read(CHUNK):
            self._sink(chunk)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def prefixed(prefix: str, sink: Sink) -> Sink:
    """Hands on whole lines, each with a prefix."""
    start, rest = prefix.encode(errors="replace"), b""

    def take(chunk: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            sink(b"".join(start + line + b"\n" for line in lines))

    return take


def tail_offset(log: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines begin, read from the end."""
    end = log.seek(0, 2)
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
