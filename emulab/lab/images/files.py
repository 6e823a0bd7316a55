"""The files of an archive of images, read by name: of a folder, or of a tar archive that can be read anywhere in it."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from emulab.kernel.layers.beneath import open_beneath
from emulab.kernel.layers.streams import CHUNK, ArchiveError, Readable
from emulab.kernel.layers.tar import TarReader

_DIGEST = re.compile(r"(sha256):[0-9a-f]{64}|(sha512):[0-9a-f]{128}")
_MEMBERS = 100_000  # of an archive of images: a few for each layer
_TEXT = 8 << 20  # octets of what is read as a whole, as containerd bounds it
_LINKS = 10


class Files(Protocol):
    def open(self, name: str) -> BinaryIO:
        """A file, for reading from its beginning. Raises KeyError when there is none."""


class FolderFiles:
    """Those below a folder. No name and no link leads out of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str) -> BinaryIO:
        root = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return os.fdopen(open_beneath(root, name, os.O_RDONLY | os.O_NONBLOCK), "rb")
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(name) from None
        finally:
            os.close(root)


class TarFiles:
    """Those of an uncompressed tar archive, of which an index is made once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._where: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        file.seek(0)
        for number, member in enumerate(TarReader(file, _skipping(file))):
            if number >= _MEMBERS:
                raise ArchiveError(f"it has more than {_MEMBERS} members")
            name = os.path.normpath(f"/{member.name}")[1:]
            if member.kind == "file":
                self._where[name] = file.tell(), member.size
            elif member.kind == "symbolic link":  # of Docker before 25: a layer that two images share
                self._links[name] = os.path.normpath(f"/{os.path.dirname(name)}/{member.target}")[1:]
            elif member.kind == "hard link":
                self._links[name] = os.path.normpath(f"/{member.target}")[1:]

    def open(self, name: str) -> BinaryIO:
        for _ in range(_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        offset, size = self._where[name]
        return io.BufferedReader(_Part(self._file, offset, size), CHUNK)


def _skipping(file: BinaryIO) -> Callable[[int], int]:
    """What goes on in a file without reading it."""
    end = os.fstat(file.fileno()).st_size

    def skip(octets: int) -> int:
        here = file.tell()
        gone = max(0, min(octets, end - here))
        file.seek(here + gone)
        return gone

    return skip


class _Part(io.RawIOBase):
    """A part of a file, whose position others don't move."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._fd, self._at, self._end = file.fileno(), offset, offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._end - self._at))
        data = os.pread(self._fd, wanted, self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def blob_name(digest: object) -> str:
    """Where an OCI layout has what is of this digest. Raises ArchiveError for what is none."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ArchiveError(f"{digest!r} is no digest")
    return f"blobs/{digest.replace(':', '/')}"


def read_text(files: Files, name: str, digest: str = "") -> bytes:
    """A small file as a whole; what it is to be is checked by its digest. Raises ArchiveError."""
    try:
        with files.open(name) as file:
            data = file.read(_TEXT + 1)
    except KeyError:
        raise ArchiveError(f"there is no {name} in it") from None
    if len(data) > _TEXT:
        raise ArchiveError(f"{name} has more than {_TEXT >> 20} MiB")
    if (
        digest
        and f"{digest.partition(':')[0]}:{hashlib.new(digest.partition(':')[0], data).hexdigest()}" != digest
    ):
        raise ArchiveError(f"{name} isn't what its digest says: the archive is damaged")
    return data


def copied(source: Readable, target: BinaryIO) -> None:
    while data := source.read(CHUNK):
        target.write(data)
    target.flush()
