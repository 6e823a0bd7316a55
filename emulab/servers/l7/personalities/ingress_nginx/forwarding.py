"""What upstreams are told of the client and its request, as ingress-nginx tells it. Pure."""

from __future__ import annotations

from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.wire.http1.framing import UNFRAMED, framing_line


def told_port(scheme: str, port: str) -> str:
    """ingress-nginx tells 443 for TLS whatever port it listens on inside its pod."""
    return "443" if scheme == "https" else port


def forwarding_lines(address: str, port: str, scheme: str, chain: str = "") -> bytes:
    """The fields that tell the upstream who asked and how: the same for a whole connection.

    `address` is the client's, `port` the one that it connected to; `chain` are all who were in front, where upstreams
    are told of them.
    """
    return (
        f"X-Real-IP: {address}\r\nX-Forwarded-For: {chain or address}\r\nX-Forwarded-Port: {port}\r\n"
        f"X-Forwarded-Proto: {scheme}\r\nX-Forwarded-Scheme: {scheme}\r\nX-Scheme: {scheme}\r\n"
    ).encode("latin-1")


def upstream_request(head: RequestHead, host: bytes, forwarding: bytes) -> tuple[bytes, bytes]:
    """The head of the request as it goes to the upstream, always HTTP/1.1 and persistent: what is before and what is
    after the request's id, which is the client's, if it has one (ingress-nginx: `generate-request-id`).

    `host` is what the client asked for, port included; `forwarding` comes from `forwarding_lines`.
    """
    before = b"%b %b HTTP/1.1\r\nHost: %b\r\nX-Request-ID: " % (head.method, head.target, host)
    parts = [b"\r\nX-Forwarded-Host: ", host, b"\r\n", forwarding, *head.lines]
    if head.forwarded_for:
        parts.append(b"X-Original-Forwarded-For: %b\r\n" % head.forwarded_for)
    if head.forwarded_host:
        parts.append(b"X-Original-Forwarded-Host: %b\r\n" % head.forwarded_host)
    if head.framing != UNFRAMED:
        parts.append(framing_line(head.framing))
    if head.upgrade and head.upgrades:
        parts.append(b"Connection: upgrade\r\nUpgrade: %b\r\n" % head.upgrade)
    parts.append(b"\r\n")
    return before, b"".join(parts)
