"""Where a message's body ends, how the next hop is told, and bodies (RFC 9112, sections 6 and 7).

Sans-I/O. A body's `feed` takes bytes as they arrived and returns `(body, rest)`: the body bytes among them and
what follows the body, which isn't part of the message. `done` says that the body is whole, `remaining` how many
bytes are announced and haven't come.

Rules for chunks, strict on purpose, because a lenient reader in front of a different lenient reader is
how requests are smuggled: the size is hexadecimal digits and nothing else before `;` or CRLF, every
line ends in CRLF, extensions and trailers are bounded and dropped. Who writes the body anew may take
lines that end in LF alone (`bare`), as nginx does.
"""

from __future__ import annotations

import re

from emulab.servers.wire.http1.head import BadMessage

LINE_MAX = 4096
"""Bytes that a chunk-size line with its extensions, or one trailer line, may take."""
TRAILERS_MAX = 16384

SIZE_MAX = 2**63 - 1
"""The largest length: off_t's, as for nginx."""

# What a head says of its body: a length, or one of these. Plain numbers, as they are looked at for each message.
CHUNKED = -1
UNTIL_CLOSE = -2
UNFRAMED = -3  # a request without a body

_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_BEGUN_SIZE = re.compile(rb"0*[0-9A-Fa-f]{0,16}[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*")


def parse_length(value: bytes) -> int:
    """The value of a Content-Length field: digits alone."""
    if len(value) < 19 and value.isdigit():  # as nearly all are
        return int(value)
    if (
        value.isdigit()
        and len(digits := value.lstrip(b"0")) < 20
        and (length := int(digits or b"0")) <= SIZE_MAX
    ):
        return length
    raise BadMessage(400, "Content-Length is malformed")


def request_framing(length: bytes | None, coding: bytes | None, old: bool) -> int:
    """How a request's body is framed, by its one Content-Length and its one Transfer-Encoding (section 6.3).

    `old`: HTTP/1.0, which has no Transfer-Encoding. The statuses are nginx's.
    """
    if coding is None:
        return UNFRAMED if length is None else parse_length(length)
    if old:
        raise BadMessage(400, "Transfer-Encoding in HTTP/1.0")
    if coding.lower() != b"chunked":
        raise BadMessage(501, "unknown transfer coding")
    if length is not None:
        raise BadMessage(400, "Content-Length and Transfer-Encoding at once")
    return CHUNKED


def response_framing(length: bytes | None, coding: bytes | None) -> int:
    """What a response's head says of its body's framing; `is_bodiless` tells whether there is a body at all."""
    if coding is None:
        return UNTIL_CLOSE if length is None else parse_length(length)
    if length is not None:
        raise BadMessage(502, "Content-Length and Transfer-Encoding at once")
    if coding.lower() != b"chunked":
        raise BadMessage(502, "unknown transfer coding")
    return CHUNKED


def is_bodiless(status: int, to_head: bool) -> bool:
    """Whether a response of this status has no body, whatever its fields say; `to_head`: it answers a HEAD."""
    return to_head or status in (204, 304) or status < 200


def framing_line(framing: int) -> bytes:
    """The field line that tells a framing, empty where none does."""
    if framing >= 0:
        return b"Content-Length: %d\r\n" % framing
    return b"Transfer-Encoding: chunked\r\n" if framing == CHUNKED else b""


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
    """A body in chunks; `feed` returns it decoded and raises `BadMessage` on a malformed one."""

    __slots__ = ("_bare", "_buffer", "_state", "_trailers", "done", "remaining")

    def __init__(self, bare: bool = False) -> None:
        self.done = False
        self._bare = bare
        self._buffer = b""  # an incomplete line, never chunk data
        self.remaining = 0
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
                piece = data[position : position + self.remaining]
                position += len(piece)
                self.remaining -= len(piece)
                pieces.append(piece)
                if self.remaining:
                    return b"".join(pieces), b""
                self._state = "data-end"
            end = data.find(b"\n", position)
            if end < 0:
                self._buffer = data[position:]
                self._check_partial()
                return b"".join(pieces), b""
            line = data[position:end]
            if line.endswith(b"\r"):
                line = line[:-1]
            elif not self._bare:
                raise BadMessage(400, "a chunk line does not end in CRLF")
            self._line(line)
            position = end + 1
        return b"".join(pieces), data[position:]

    def _check_partial(self) -> None:
        """Refuses early what can no longer become a line that fits."""
        partial = self._buffer
        if len(partial) > LINE_MAX:
            raise BadMessage(400, "a chunk line is too long")
        if b"\r" in partial[:-1]:
            raise BadMessage(400, "a chunk line does not end in CRLF")
        if self._state == "size" and _BEGUN_SIZE.fullmatch(partial) is None:
            raise BadMessage(400, "a chunk size is malformed")
        if self._state == "data-end" and partial not in (b"", b"\r"):
            raise BadMessage(400, "chunk data is longer than its size")

    def _line(self, line: bytes) -> None:
        if len(line) > LINE_MAX:
            raise BadMessage(400, "a chunk line is too long")
        if self._state == "data-end":
            if line:
                raise BadMessage(400, "chunk data is longer than its size")
            self._state = "size"
        elif self._state == "size":
            match = _SIZE.fullmatch(line)
            if match is None:
                raise BadMessage(400, "a chunk size is malformed")
            self.remaining = int(match[1], 16)
            if self.remaining > SIZE_MAX - 5:  # as for nginx, which counts the rest of the body with it
                raise BadMessage(400, "a chunk is too large")
            self._state = "data" if self.remaining else "trailers"
        elif not line:
            self.done = True
        else:
            self._trailers += len(line)
            if self._trailers > TRAILERS_MAX:
                raise BadMessage(431, "the trailers are too long")
            if _TRAILER.fullmatch(line) is None:
                raise BadMessage(400, "a trailer is malformed")


Body = LengthBody | ChunkedBody


def body_of(framing: int, bare: bool = False) -> Body | None:
    """The reader of a body that is framed by length or in chunks, None where nothing is to be read."""
    if framing > 0:
        return LengthBody(framing)
    return ChunkedBody(bare) if framing == CHUNKED else None


def chunk(data: bytes) -> bytes:
    """`data`, which isn't empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
