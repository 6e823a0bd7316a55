"""The answers of HAProxy's own, which look like nginx's. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from emulab.servers.engines.haproxy.places import PAGES
from emulab.servers.l7.personalities.ingress_nginx.pages import html, reason

STATUSES = (400, 401, 403, 404, 405, 408, 413, 429, 500, 502, 503, 504)
"""Those with which HAProxy answers of its own accord."""


def page_file(status: int) -> str:
    """The path of a page."""
    return f"{PAGES}/{status}.html"


def returned(status: int) -> str:
    """The action that answers with a page."""
    return f"http-request return status {_wire(status)} content-type text/html file {page_file(status)}"


def _wire(status: int) -> int:
    """The status that goes over the wire: 495 and 496 are nginx's own numbers."""
    return 400 if status in (495, 496) else status


def pages_of(cfg: str) -> Mapping[str, str]:
    """The files of the pages that a configuration names."""
    named = {int(one) for one in re.findall(rf"{re.escape(PAGES)}/(\d+)\.html", cfg)}
    return {page_file(status): html(status).decode() for status in sorted(named)}


def whole(status: int) -> str:
    """A whole answer, as HAProxy sends it in the place of one that it would give."""
    body = html(status).decode()
    head = [f"HTTP/1.1 {status} {reason(status)}", "Content-Type: text/html", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "Connection: close", "", body])
