"""The answers of HAProxy's own, which look like nginx's. Pure."""

from __future__ import annotations

from emulab.servers.l7.personalities.ingress_nginx.pages import html, reason

STATUSES = (400, 403, 404, 405, 408, 413, 429, 500, 502, 503, 504)


def page_file(status: int, folder: str) -> str:
    """The path of a page."""
    return f"{folder}/{status}.html"


def page(status: int) -> str:
    """Its text."""
    return html(status).decode()


def whole(status: int) -> str:
    """A whole answer, as HAProxy sends it in the place of one that it would give."""
    body = page(status)
    head = [f"HTTP/1.1 {status} {reason(status)}", "Content-Type: text/html", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "Connection: close", "", body])
