"""The small HTML pages that the proxy answers with by itself.

They have the shape of nginx's built-in pages, so that people and programs that recognise those
recognise these. nginx keeps the connection after most of them, and ends it after errors that leave it
unsure where the next request starts (`CLOSING`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from emulab.servers.l7.personalities.ingress_nginx.heads import HEADER_TOO_LARGE

if TYPE_CHECKING:
    from emulab.servers.l7.engine.filters.effect import Page

_NOTES = {
    HEADER_TOO_LARGE: "Request Header Or Cookie Too Large",
    495: "The SSL certificate error",
    496: "No required SSL certificate was sent",
    497: "The plain HTTP request was sent to HTTPS port",
}
"""nginx's own numbers, each for a 400 with a word of its own."""

CLOSING = frozenset({400, 405, 408, 413, 414, *_NOTES, 500, 501, 505})
"""Statuses after which the connection ends (nginx: `ngx_http_special_response_handler`, or because the request is
refused before nginx has looked at its Connection field)."""

_TITLES = {302: "Found", 401: "Authorization Required"}
"""Words of pages that aren't those of the status line."""

_REASONS = {
    302: "Moved Temporarily",
    405: "Not Allowed",
    408: "Request Time-out",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}


_NAME = re.compile(rb"(?mi)^Server: (nginx/[0-9.]+)\r$")


def wire_status(status: int) -> int:
    """The status that goes over the wire: 494, say, is a 400 to the client."""
    return 400 if status in _NOTES else status


def reason(status: int) -> str:
    """The reason phrase that nginx uses for `status`."""
    try:
        return _REASONS.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return ""


@lru_cache(maxsize=64)
def html(status: int, name: str = "nginx") -> bytes:
    """The HTML body for `status`, CRLF-separated; `name` is what the server calls itself."""
    code = wire_status(status)
    heading = f"{code} {_TITLES.get(code) or reason(code)}"
    note = _NOTES.get(status, "")
    title = f"{code} {note}" if note else heading
    lines = ["<html>", f"<head><title>{title}</title></head>", "<body>"]
    lines.append(f"<center><h1>{heading}</h1></center>")
    if note:
        lines.append(f"<center>{note}</center>")
    lines += [f"<hr><center>{name}</center>", "</body>", "</html>", ""]
    return "\r\n".join(lines).encode()


def answer_lines(scheme: str, hsts: str) -> bytes:
    """The field lines of answers that are given in a location: Strict-Transport-Security over TLS."""
    return f"Strict-Transport-Security: {hsts}\r\n".encode("latin-1") if scheme == "https" and hsts else b""


def answer(page: Page, *, date: bytes, close: bool, head_only: bool = False) -> bytes:
    """A whole response: status line, headers and page, or the body that it has instead.

    `date` is complete header lines; `close` ends the connection after it; `head_only` leaves the body out, as a HEAD
    request wants. What the server calls itself in its lines the page says, too (nginx: `server_tokens`).
    """
    code = wire_status(page.status)
    name = _NAME.search(b"".join((date, *page.lines)))
    own = html(page.status, name[1].decode()) if name is not None else html(page.status)
    body = own if page.body is None else page.body
    head = [b"HTTP/1.1 %d %s\r\n" % (code, reason(code).encode()), date]
    if code != 204:
        head.append(b"Content-Type: %b\r\nContent-Length: %d\r\n" % (page.content_type.encode(), len(body)))
    head.append(b"Connection: close\r\n" if close else b"Connection: keep-alive\r\n")
    if page.location:
        head.append(b"Location: %s\r\n" % page.location)
    head += (*page.lines, b"\r\n")
    if not head_only and code != 204:
        head.append(body)
    return b"".join(head)
