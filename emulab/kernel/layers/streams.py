"""Reading what may be compressed, a little at a time, within bounds, and its digest.

Who made an archive may want us to fill a disk: a thousand octets stand for a gigabyte in any of the compressions.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Protocol

from emulab.errors import UserError
from emulab.kernel.layers import zstd

CHUNK = 1 << 20
_TAKEN = (
    1 << 16
)  # octets of what is compressed: all that is left of them is copied with each piece that they give
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"  # behind a first octet from 50 to 5f: a frame of zstd that stands for nothing
_UNSUPPORTED = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_RATIO, _FREE = 200, 256 << 20
"""How much longer than the compressed text its meaning may be, beyond what is free: no file system is so dull."""


class ArchiveError(UserError):
    """An archive isn't as it should be, or asks for what isn't done."""


class Readable(Protocol):
    def read(self, most: int, /) -> bytes: ...


class Budget:
    """What an archive may still come to, in octets and members."""

    def __init__(self, octets: int, members: int) -> None:
        self._octets, self.octets = octets, octets
        self._members, self.members = members, members

    def spend(self, octets: int) -> None:
        self.octets -= octets
        if self.octets < 0:
            raise ArchiveError(
                f"it comes to more than {self._octets / (1 << 30):g} GiB unpacked; --max-size allows more"
            )

    def count(self) -> None:
        self.members -= 1
        if self.members < 0:
            raise ArchiveError(f"it has more than {self._members} members")


class Hashed:
    """A stream that knows the digest of what was read of it, and may have a budget."""

    def __init__(self, stream: Readable, algorithm: str = "sha256", budget: Budget | None = None) -> None:
        self._stream = stream
        self._hash = hashlib.new(algorithm, usedforsecurity=True)
        self._algorithm = algorithm
        self._budget = budget

    def read(self, most: int, /) -> bytes:
        data = self._stream.read(most)
        if self._budget is not None:
            self._budget.spend(len(data))
        self._hash.update(data)
        return data

    def drain(self) -> None:
        while self.read(CHUNK):
            pass

    @property
    def digest(self) -> str:
        return f"{self._algorithm}:{self._hash.hexdigest()}"


def decompressed(stream: Readable) -> Readable:
    """What a stream stands for: its first octets say how it is compressed, whatever somebody calls it."""
    head = b""
    while len(head) < 6 and (data := stream.read(6 - len(head))):
        head += data
    source = _Pushed(head, stream)
    for magic, name in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise ArchiveError(f"it is compressed with {name}: unpack it first, or use gzip or zstd")
    if head.startswith(_GZIP):
        return _Decompressed(source, _Gzip())
    if head.startswith(_ZSTD) or (head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F):
        return _Decompressed(source, zstd.Decompressor())
    return source


class _Pushed:
    """A stream of which the beginning was read already."""

    def __init__(self, head: bytes, stream: Readable) -> None:
        self._head, self._stream = head, stream

    def read(self, most: int, /) -> bytes:
        if self._head:
            found, self._head = self._head[:most], self._head[most:]
            return found
        return self._stream.read(most)


class _Codec(Protocol):
    unconsumed: bytes
    complete: bool

    def decompress(self, data: bytes, most: int) -> bytes: ...


class _Gzip:
    """Members of gzip, one after the other (RFC 1952); what pads the last one with zeros is no member."""

    def __init__(self) -> None:
        self._member: Callable[[], zlib._Decompress] = lambda: zlib.decompressobj(wbits=31)
        self._current = self._member()
        self.unconsumed, self.complete = b"", False

    def decompress(self, data: bytes, most: int) -> bytes:
        if self._current.eof:
            data = data.lstrip(b"\0")
            if not data:
                self.unconsumed = b""
                return b""
            self._current = self._member()
        try:
            found = self._current.decompress(data, most)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        self.complete = self._current.eof
        self.unconsumed = self._current.unused_data if self.complete else self._current.unconsumed_tail
        return found


class _Decompressed:
    """Takes little and gives much at a time; who reads a little gets it from what was given before."""

    def __init__(self, stream: Readable, codec: _Codec) -> None:
        self._stream, self._codec = stream, codec
        self._ended = False
        self._taken = self._given = 0
        self._ready, self._at = b"", 0

    def read(self, most: int, /) -> bytes:
        if self._at == len(self._ready):
            self._ready, self._at = self._next(), 0
        found = self._ready[self._at : self._at + most]
        self._at += len(found)
        return found

    def _next(self) -> bytes:
        codec = self._codec
        while True:
            data = codec.unconsumed or self._more()
            try:
                found = codec.decompress(data, CHUNK) if data or not codec.complete else b""
            except ValueError as error:
                raise ArchiveError(f"it is damaged: {error}") from None
            if found:
                self._given += len(found)
                if self._given > _FREE and self._given > _RATIO * self._taken:
                    raise ArchiveError(
                        f"it comes to more than {_RATIO} times its compressed size, as a bomb does"
                    )
                return found
            if self._ended and not codec.unconsumed:
                if not codec.complete:
                    raise ArchiveError("it ends too early: it was cut off")
                return b""

    def _more(self) -> bytes:
        data = self._stream.read(_TAKEN)
        self._taken += len(data)
        self._ended = not data
        return data
