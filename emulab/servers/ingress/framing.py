"""Where a request's body ends: by length or in chunks (RFC 9112, sections 6 and 7).

Sans-I/O. `feed` takes bytes as they arrived and returns `(body, rest)`: the body bytes among them and
what follows the body, which is the next request. `done` says that the body is whole.

Rules for chunks, strict on purpose, because a lenient reader in front of a different lenient reader is
how requests are smuggled: the size is hexadecimal digits and nothing else before `;` or CRLF, every
line ends in CRLF, extensions and trailers are bounded and dropped.
"""

from __future__ import annotations

import re

from emulab.errors import PeerError

LINE_MAX = 4096
"""Bytes that a chunk-size line with its extensions, or one trailer line, may take."""
TRAILERS_MAX = 16384

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*")


class LengthBody:
    """A body of `Content-Length` bytes."""

    __slots__ = ("remaining",)

    def __init__(self, length: int) -> None:
        self.remaining = length

    @property
    def done(self) -> bool:
        """Whether the whole body has been fed."""
        return self.remaining == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Splits `data` into body and what follows it."""
        size = len(data)
        if size <= self.remaining:
            self.remaining -= size
            return data, b""
        end, self.remaining = self.remaining, 0
        return data[:end], data[end:]


class ChunkedBody:
    """A body in chunks; `feed` returns it decoded and raises `PeerError` on a malformed one."""

    __slots__ = ("_buffer", "_left", "_state", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._buffer = b""  # an incomplete line, never chunk data
        self._left = 0
        self._state = "size"
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Decodes `data`; body bytes come out as soon as they are in, whole chunk or not."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        pieces: list[bytes] = []
        position = 0
        while not self.done:
            if self._state == "data":
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                pieces.append(piece)
                if self._left:
                    return b"".join(pieces), b""
                self._state = "data-end"
            end = data.find(b"\r\n", position)
            if end < 0:
                self._buffer = data[position:]
                self._check_partial()
                return b"".join(pieces), b""
            self._line(data[position:end])
            position = end + 2
        return b"".join(pieces), data[position:]

    def _check_partial(self) -> None:
        """Refuses early what can no longer become a line that fits."""
        partial = self._buffer
        if len(partial) > LINE_MAX:
            raise PeerError("a chunk line is too long")
        if b"\n" in partial or b"\r" in partial[:-1]:
            raise PeerError("a chunk line does not end in CRLF")
        if self._state == "data-end" and partial not in (b"", b"\r"):
            raise PeerError("chunk data is longer than its size")

    def _line(self, line: bytes) -> None:
        if len(line) > LINE_MAX:
            raise PeerError("a chunk line is too long")
        if self._state == "data-end":
            if line:
                raise PeerError("chunk data is longer than its size")
            self._state = "size"
        elif self._state == "size":
            match = _SIZE.fullmatch(line)
            if match is None:
                raise PeerError("a chunk size is malformed")
            self._left = int(match[1], 16)
            self._state = "data" if self._left else "trailers"
        elif not line:
            self.done = True
        else:
            self._trailers += len(line)
            if self._trailers > TRAILERS_MAX or _TRAILER.fullmatch(line) is None:
                raise PeerError("a trailer is malformed or too long")


Body = LengthBody | ChunkedBody


def chunk(data: bytes) -> bytes:
    """`data`, which isn't empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
