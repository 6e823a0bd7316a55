"""Lists of fields ↔ the head of a message as HTTP/1.1 would have it. Pure.

So heads are read by one parser, whatever version they came in. What is malformed there (RFC 9113, section 8.2) is
refused as nginx refuses it (`ngx_http_v2_validate_header`, `ngx_http_v2_pseudo_header`), and what belongs to a
connection has no place in HTTP/2: it is left, but for Transfer-Encoding, which is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from emulab.servers.wire.http1.head import BadMessage, Memo

FieldList = list[tuple[bytes, bytes]]

_NAME = re.compile(rb"[^\x00-\x20:A-Z\x7f]+")
_VALUE = re.compile(rb"[^\x00\r\n]*")
_TOKEN = re.compile(rb"[^\x00-\x20\x7f]+")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
_PSEUDO = frozenset({b":method", b":path", b":scheme", b":authority"})
_OF_CONNECTIONS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"http2-settings", b"te"}
)
_NEVER = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


class RequestText(NamedTuple):
    """The head of a request."""

    text: bytes  # as of HTTP/1.1, without the empty line at its end
    trailers: bool  # whether the client takes fields after the body


def size(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """How many bytes of names and values there are."""
    return sum(len(name) + len(value) for name, value in fields)


def request_text(fields: FieldList) -> RequestText:
    """What a request's fields say. Raises `BadMessage`."""
    pseudo: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    host: bytes | None = None
    trailers = False
    for name, value in fields:
        if _VALUE.fullmatch(value) is None:
            raise BadMessage(400, "a header field's value is malformed")
        if name[:1] == b":":
            if lines or name in pseudo or name not in _PSEUDO or not value:
                raise BadMessage(
                    400, f"{name.decode('latin-1')} is unknown, empty, there twice or out of order"
                )
            pseudo[name] = value
            continue
        if _NAME.fullmatch(name) is None:
            raise BadMessage(400, "a header field's name is malformed")
        if name in _OF_CONNECTIONS:
            trailers = trailers or (name == b"te" and b"trailers" in value.lower())
            continue
        if name == b"transfer-encoding":
            raise BadMessage(400, "Transfer-Encoding in HTTP/2")
        if name == b"host":
            if host is not None:
                raise BadMessage(400, "two host fields")
            host = value
        lines.append(b"%b: %b\r\n" % (name, value) if name != b"host" else b"")
    for name in (b":method", b":scheme", b":path"):
        if name not in pseudo:
            raise BadMessage(400, f"no {name.decode()}")
    return RequestText(_written(pseudo, host, lines), trailers)


def _written(pseudo: dict[bytes, bytes], host: bytes | None, lines: list[bytes]) -> bytes:
    method, path = pseudo[b":method"], pseudo[b":path"]
    if _TOKEN.fullmatch(method) is None or _SCHEME.fullmatch(pseudo[b":scheme"]) is None:
        raise BadMessage(400, "the request's method or scheme is malformed")
    if path[:1] != b"/" or _TOKEN.fullmatch(path) is None:
        raise BadMessage(400, "the request's target is malformed")
    authority = pseudo.get(b":authority", host)
    if authority is None:
        raise BadMessage(400, "no Host")
    if host is not None and host != authority:
        raise BadMessage(400, ":authority and Host differ")
    start = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, path, authority)
    return b"".join([start, *lines])[:-2]


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip()


_FIELDS = Memo(_field)


def fields_of(lines: Iterable[bytes], everything: bool = False) -> FieldList:
    """The fields of lines, without those that belong to a connection unless `everything` is wanted."""
    known = _FIELDS
    if everything:
        return [known[line] for line in lines]
    return [field for field in [known[line] for line in lines] if field[0] not in _NEVER]
