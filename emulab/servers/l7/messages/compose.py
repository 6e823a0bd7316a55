"""Writes the heads of responses as they go to clients. Pure."""

from __future__ import annotations

from emulab.servers.l7.messages.response import UpstreamResponse
from emulab.servers.wire.http1.framing import CHUNKED, UNTIL_CLOSE, framing_line

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


_KEPT, _CLOSED = b"Connection: keep-alive\r\n", b"Connection: close\r\n"


def client_response(
    reader: UpstreamResponse, framing: int, *, date: bytes, extra: bytes, old: bool, keep: bool
) -> tuple[bytes, bool, bool]:
    """The head of the response as it goes to the client: `(head, chunked, keep)`.

    `framing` is the body's: the reader's, unless another body is made of it. `chunked` says how body bytes are to be
    framed, the returned `keep` whether the connection outlives the response: a client of HTTP/1.0 (`old`) learns the
    end of an unmeasured body from the end of the connection alone. `extra` are more header lines.
    """
    bodiless = reader.bodiless
    if framing >= 0:
        chunked = False
    elif bodiless or old:
        framing, chunked, keep = UNTIL_CLOSE, False, keep and bodiless
    else:
        framing, chunked = CHUNKED, True
    head = [
        reader.head.start,
        date,
        *reader.lines,
        framing_line(framing),
        _KEPT if keep else _CLOSED,
        extra,
        b"\r\n",
    ]
    return b"".join(head), chunked, keep


def plain_response(
    reader: UpstreamResponse, date: bytes, extra: bytes, old: bool, keep: bool
) -> tuple[bytes, bool, bool]:
    """What `client_response` makes of a response that goes to the client as it came. Heads that come again are written
    once a second, as long as they are for the like of clients."""
    asked = (date, extra, old, keep, reader.bodiless)
    known = reader.head.written
    if known is not None and known[0] == asked:
        return known[1]
    made = client_response(reader, reader.framing, date=date, extra=extra, old=old, keep=keep)
    reader.head.written = asked, made
    return made


def switching_response(reader: UpstreamResponse, date: bytes) -> bytes:
    """The head of a 101, after which the connection is a tunnel."""
    protocol = reader.head.upgrade
    named = b"Upgrade: %b\r\n" % protocol if protocol else b""  # a server may have left it out
    end = b"Connection: upgrade\r\n%b\r\n" % named
    return b"".join([b"HTTP/1.1 101 %b\r\n" % reader.head.reason, date, *reader.lines, end])
