"""A log with its older files, read as one file: the oldest one first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from emulab.servers.logs.files import FILES
from emulab.servers.logs.marks import Mark, read_marks


class SeekableLog(Protocol):
    """What of a file is needed to find lines in it."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...

    def read(self, size: int = -1, /) -> bytes: ...


class LogPart(NamedTuple):
    """One of the files, and where it begins in the whole."""

    path: Path
    file: BinaryIO
    base: int
    size: int


class LogChain:
    """The files of a log as they were when this was made. A log that isn't there has none."""

    def __init__(self, path: Path) -> None:
        self.parts = _opened(path)
        self.size = self.parts[-1].base + self.parts[-1].size if self.parts else 0
        self._position = 0

    def marks(self) -> list[Mark]:
        """The marks of all files, by their places in the whole."""
        return [
            mark._replace(offset=part.base + mark.offset)
            for part in self.parts
            for mark in read_marks(part.path)
        ]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = (
            offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        )
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        """So many octets, of as many files as it takes; all that are left without a number."""
        wanted = self.size - self._position if size < 0 else size
        found: list[bytes] = []
        for part in self.parts:
            left = part.base + part.size - self._position
            if wanted > 0 and left > 0:
                part.file.seek(self._position - part.base)
                found.append(part.file.read(min(wanted, left)))
                self._position += min(wanted, left)
                wanted -= min(wanted, left)
        return b"".join(found)

    def close(self) -> None:
        for part in self.parts:
            part.file.close()


def _opened(path: Path) -> list[LogPart]:
    """The files. The newest is opened first: when it makes room meanwhile for another one, it is met again as an older
    one, and none is left out."""
    found: list[tuple[Path, BinaryIO]] = []
    seen: set[tuple[int, int]] = set()
    for number in range(FILES):
        one = path.with_name(f"{path.name}.{number}") if number else path
        try:
            file: BinaryIO = one.open("rb")
        except FileNotFoundError:
            continue
        state = os.fstat(file.fileno())
        if (state.st_dev, state.st_ino) in seen:
            file.close()
            continue
        seen.add((state.st_dev, state.st_ino))
        found.append((one, file))
    parts: list[LogPart] = []
    base = 0
    for one, file in reversed(found):
        size = os.fstat(file.fileno()).st_size
        parts.append(LogPart(one, file, base, size))
        base += size
    return parts
