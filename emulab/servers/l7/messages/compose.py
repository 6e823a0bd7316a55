"""Writes the heads that go out: requests to upstreams, responses to clients. Pure."""

from __future__ import annotations

from emulab.servers.l7.messages.headers import forwarding_lines
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.response import ResponseReader
from emulab.servers.wire.framing import CHUNKED, UNTIL_CLOSE, framing_line

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def upstream_request(head: RequestHead, host: bytes, forwarding: bytes, request_id: bytes) -> bytes:
    """The head of the request as it goes to the upstream, always HTTP/1.1 and persistent.

    `host` is what the client asked for, port included; `forwarding` comes from `forwarding_lines`;
    `request_id` is used when the client brought none (ingress-nginx: `generate-request-id`).
    """
    parts = [
        head.method,
        b" ",
        head.target,
        b" HTTP/1.1\r\nHost: ",
        host,
        b"\r\nX-Request-ID: ",
        head.request_id or request_id,
        b"\r\nX-Forwarded-Host: ",
        host,
        b"\r\n",
        forwarding,
        *head.lines,
    ]
    if head.forwarded_for:
        parts.append(b"X-Original-Forwarded-For: %b\r\n" % head.forwarded_for)
    parts.append(framing_line(head.framing))
    if head.upgrades:
        parts.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % head.upgrade)
    parts.append(b"\r\n")
    return b"".join(parts)


def trusted_forwarding(head: RequestHead, address: str, port: str, scheme: str) -> tuple[bytes, str]:
    """Forwarding lines and scheme when the one in front is trusted (`use-forwarded-headers: true`).

    With ingress-nginx's default of trusting every address, the client is the first of X-Forwarded-For.
    """
    first = head.forwarded_for.split(b",")[0].strip()
    scheme = head.forwarded_proto.decode("latin-1") or scheme
    port = head.forwarded_port.decode("latin-1") or port
    return forwarding_lines(first.decode("latin-1") or address, port, scheme), scheme


def client_response(
    reader: ResponseReader, *, date: bytes, extra: bytes, old: bool, keep: bool
) -> tuple[bytes, bool, bool]:
    """The head of the response as it goes to the client: `(head, chunked, keep)`.

    `chunked` says how body bytes are to be framed, the returned `keep` whether the connection outlives
    the response: a client of HTTP/1.0 (`old`) learns the end of an unmeasured body from the end of the
    connection alone. `extra` are more header lines.
    """
    framing, bodiless = reader.framing, reader.bodiless
    if framing >= 0:
        chunked = False
    elif bodiless or old:
        framing, chunked, keep = UNTIL_CLOSE, False, keep and bodiless
    else:
        framing, chunked = CHUNKED, True
    parts = [
        b"HTTP/1.1 %d %b\r\n" % (reader.status, reader.reason),
        date,
        *reader.lines,
        framing_line(framing),
    ]
    parts.append(b"Connection: keep-alive\r\n" if keep else b"Connection: close\r\n")
    if extra:
        parts.append(extra)
    parts.append(b"\r\n")
    return b"".join(parts), chunked, keep


def switching_response(reader: ResponseReader, date: bytes) -> bytes:
    """The head of a 101, after which the connection is a tunnel."""
    upgrade = b"Connection: upgrade\r\nUpgrade: %b\r\n\r\n" % reader.upgrade
    return b"".join([b"HTTP/1.1 101 %b\r\n" % reader.reason, date, *reader.lines, upgrade])
