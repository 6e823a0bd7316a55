"""A strict reading of HTTP/1, written on its own: what a backend behind a proxy must see, and nothing else.

A proxy writes what it passes on anew, so there is no excuse for anything unusual in it: `RequestOracle` takes
requests by the letter of RFC 9112 and calls everything else malformed. `read_answers` is its counterpart for what
a client gets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

_HEAD = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/1\.1\r\n((?:[^\x00-\x20:\x7f]+:[^\x00\r\n]*\r\n)*)\r\n"
)
_ANSWER = re.compile(
    rb"HTTP/1\.1 ([1-9][0-9][0-9])[^\x00\r\n]*\r\n((?:[^\x00-\x20:\x7f]+:[^\x00\r\n]*\r\n)*)\r\n"
)
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)\r\n")

Fields = dict[bytes, list[bytes]]


@dataclass
class Seen:
    """A request that came whole."""

    method: bytes
    target: bytes
    fields: Fields
    body: bytes

    @property
    def framing(self) -> str:
        return (
            "chunked"
            if b"transfer-encoding" in self.fields
            else "length"
            if b"content-length" in self.fields
            else ""
        )

    @property
    def host(self) -> bytes:
        return b",".join(self.fields.get(b"host", []))


class Malformed(Exception):
    """What no strict reader takes."""


def fields_of(block: bytes) -> Fields:
    found: Fields = {}
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        found.setdefault(name.lower(), []).append(value.strip(b" \t"))
    return found


def body_at(data: bytes, at: int, fields: Fields) -> tuple[bytes, int] | None:
    """The body that begins `at` and where it ends, None if it isn't whole; a message without framing has none."""
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    if len(lengths) + len(codings) > 1:
        raise Malformed(f"framed twice: {data!r}")
    if lengths:
        if not lengths[0].isdigit():
            raise Malformed(f"length {lengths[0]!r}")
        end = at + int(lengths[0])
        return (data[at:end], end) if end <= len(data) else None
    if not codings:
        return b"", at
    if codings[0].lower() != b"chunked":
        raise Malformed(f"coding {codings[0]!r}")
    pieces = []
    while (match := _CHUNK.match(data, at)) is not None:
        at, size = match.end(), int(match[1], 16)
        if len(data) < at + size + 2:
            return None
        if data[at + size : at + size + 2] != b"\r\n":
            raise Malformed(f"chunk without an end: {data[at:]!r}")
        pieces.append(data[at : at + size])
        at += size + 2
        if not size:
            return b"".join(pieces), at
    if b"\r\n" in data[at:] or len(data) - at > 20:
        raise Malformed(f"chunk size: {data[at:]!r}")
    return None


class RequestOracle(asyncio.Protocol):
    """A connection to a backend that reads strictly; `answer(seen, self)` decides what becomes of a request."""

    def __init__(
        self, answer: Callable[[Seen, RequestOracle], None], malformed: Callable[[str], None]
    ) -> None:
        self._answer, self._malformed = answer, malformed
        self._data = b""
        self.lost = asyncio.Event()
        self.tainted = False  # it has sent what belongs to no answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            while self._data and self._step():
                pass
        except Malformed as error:
            self._malformed(str(error))
            self.transport.abort()

    def _step(self) -> bool:
        data = self._data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return False
        match = _HEAD.match(data)
        if match is None:
            raise Malformed(f"head: {data[: end + 4]!r}")
        fields = fields_of(match[3])
        body = body_at(data, match.end(), fields)
        if body is None:
            return False
        self._data = data[body[1] :]
        self._answer(Seen(match[1], match[2], fields, body[0]), self)
        return True


@dataclass(frozen=True)
class Got:
    """An answer as a client has it; `whole` is False where it was cut."""

    status: int
    body: bytes
    whole: bool


def read_answers(data: bytes, methods: list[bytes], ended: bool) -> tuple[list[Got], bytes]:
    """The answers in what a client received, to requests of these methods in order, and what is no answer."""
    got, at = [], 0
    waiting = list(methods)
    while at < len(data):
        match = _ANSWER.match(data, at)
        if match is None:
            return got, data[at:]
        status, fields, at = int(match[1]), fields_of(match[2]), match.end()
        if status < 200 and status != 101:
            got.append(Got(status, b"", True))
            continue
        method = waiting.pop(0) if waiting else b"GET"
        if method == b"HEAD" or status in (204, 304, 101):
            got.append(Got(status, b"", True))
        elif b"content-length" not in fields and b"transfer-encoding" not in fields:
            got.append(Got(status, data[at:], ended))
            at = len(data)
        else:
            try:
                body = body_at(data, at, fields)
            except Malformed:
                return got, data[match.start() :]
            got.append(Got(status, data[at:] if body is None else body[0], body is not None))
            at = len(data) if body is None else body[1]
    return got, b""
