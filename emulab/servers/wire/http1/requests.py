"""Bytes of one HTTP/1.1 connection into requests, for servers that answer by themselves as Go's net/http does.

Rules:

* Bodies are counted and dropped, so a body of any size costs nothing.
* A head is bounded by `HEADER_LIMIT`, empty lines before it included.
* As for Go's net/http a field's name is a token and its value has no control characters.
* Of protocols to upgrade to, only a WebSocket is really one; any other is passed over, as RFC 9110 §7.8 lets a
  server do (curl's `--http2` asks for h2c).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from emulab.servers.wire.http1.framing import UNFRAMED, Body, body_of, request_framing
from emulab.servers.wire.http1.head import (
    BadMessage,
    Memo,
    keeps_alive,
    parse_field,
    parse_request_line,
    tokens,
)
from emulab.servers.wire.http1.reader import Dialect, HeadReader

HEADER_LIMIT = 64 * 1024  # bytes of request line and headers; more is answered with 431

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@lru_cache(maxsize=1024)
def canonical(name: bytes) -> str:
    """A header's name as Go's net/http spells it: `x-forwarded-for` → `X-Forwarded-For`.

    A name with a character outside RFC 9110's token is left as it is.
    """
    text = name.decode("latin-1")
    if not _TOKEN.issuperset(text):
        return text
    return "-".join(word[:1].upper() + word[1:].lower() for word in text.split("-"))


class Request:
    """One request: its head, and the size of its body once that has been read."""

    __slots__ = (
        "arrived", "body_bytes", "framing", "headers", "keep_alive", "method", "proto", "secured", "target",
        "websocket",
    )  # fmt: skip

    def __init__(self, method: str, target: str, proto: str, headers: dict[str, list[str]]) -> None:
        self.method = method
        self.target = target  # as it stood in the request line, query included
        self.proto = proto  # "HTTP/1.1"
        self.headers = headers  # canonical name → values, in order
        self.framing = UNFRAMED
        self.body_bytes = 0
        self.keep_alive = True
        self.websocket = False
        self.arrived = 0.0  # seconds of the connection's clock; for records alone
        self.secured: Mapping[str, Any] | None = None  # what was agreed on, of a connection with TLS

    def first(self, name: str) -> str:
        """The first value of a header, or the empty string."""
        values = self.headers.get(name)
        return values[0] if values else ""

    @property
    def host(self) -> str:
        """Whom the request is for: an absolute target outranks `Host` (RFC 9112 §3.2.2)."""
        _, scheme, rest = self.target.partition("://")
        if scheme and not self.target.startswith("/"):
            return rest.partition("/")[0].partition("?")[0]
        return self.first("Host")

    @property
    def path(self) -> str:
        """The target's path, without query."""
        target = self.target
        if not target.startswith("/") and "://" in target:
            target = "/" + target.partition("://")[2].partition("/")[2]
        return target.partition("?")[0]


def wants_websocket(request: Request) -> bool:
    """Whether the request's headers ask for a WebSocket (RFC 6455 §4.2.1)."""
    upgrade = ",".join(request.headers.get("Upgrade", ())).lower()
    return "websocket" in (token.strip() for token in upgrade.split(","))


class RequestReader:
    """Feeds on bytes; whole requests come out of `requests`, in order."""

    __slots__ = (
        "_body",
        "_heads",
        "_held",
        "expecting",
        "failure",
        "requests",
        "rest",
        "to_head",
        "upgraded",
    )

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.failure = 0  # the status that ends the connection, once set
        self.to_head = False  # the request that failed was a HEAD, whose answer has no body
        self.expecting = False  # the client waits for `100 Continue`
        self.upgraded = False  # the last request switches to WebSocket; later bytes are in `rest`
        self.rest = b""
        self._heads = HeadReader(DIALECT)
        self._held: Request | None = None  # the request whose body is being read
        self._body: Body | None = None

    @property
    def in_message(self) -> bool:
        """Whether a request has begun and isn't whole."""
        return self._held is not None or bool(self._heads.partial)

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the connection. Never raises: what is wrong is told by `failure`."""
        try:
            while data and not self.failure and not self.upgraded:
                data = self._take_head(data) if self._body is None else self._take_body(self._body, data)
        except BadMessage as error:
            self.failure = error.status
            self.to_head = self._heads.to_head if self._held is None else self._held.method == "HEAD"
        if self.upgraded:
            self.rest += data

    def _take_head(self, data: bytes) -> bytes:
        request = self._heads.feed(data)
        if request is None:
            return b""
        self._held = request
        if request.framing != UNFRAMED:
            self._body = body_of(request.framing)
        if self._body is None:
            self._finish()
        else:
            self.expecting = "Expect" in request.headers and request.proto != "HTTP/1.0"
        rest, self._heads.rest = self._heads.rest, b""  # which may be large, and isn't to outlive the request
        return rest

    def _take_body(self, body: Body, data: bytes) -> bytes:
        self.expecting = False  # the body is on its way already (RFC 9110 §10.1.1)
        piece, rest = body.feed(data)
        assert self._held is not None
        self._held.body_bytes += len(piece)
        if body.done:
            self._body = None
            self._finish()
        return rest

    def _finish(self) -> None:
        assert self._held is not None
        self.requests.append(self._held)
        self.upgraded = self._held.websocket
        self._held = None


def _excess(begun: bytes, blank: int) -> int:
    return 431 if len(begun) + blank > HEADER_LIMIT else 0


def _parse_start(line: bytes) -> tuple[str, str, bool]:
    method, target, old = parse_request_line(line)
    return method.decode("ascii"), target.decode("utf-8", "replace"), old


def _parse_line(line: bytes) -> tuple[str, str]:
    """The name of a field, as Go spells it, and its value."""
    name, value = parse_field(line)
    if not _TOKEN.issuperset(name.decode("latin-1")):
        raise BadMessage(400, "a header's name is no token")
    if _CONTROL.search(value) is not None:
        raise BadMessage(400, "a field has a control character")
    # Go writes invalid UTF-8 to JSON as U+FFFD; the value's own bytes are of no use to anyone.
    return canonical(name), value.decode("utf-8", "replace").strip(" \t")


_STARTS, _LINES = Memo(_parse_start), Memo(_parse_line)


def parse_head(head: bytes) -> Request:
    """What is in a head, given without the empty line at its end. Raises `BadMessage`."""
    start, *lines = head.split(b"\r\n")
    method, target, old = _STARTS[start]
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, value = _LINES[line]
        if name in headers:
            headers[name].append(value)
        else:
            headers[name] = [value]
    request = Request(method, target, "HTTP/1.0" if old else "HTTP/1.1", headers)
    if problem := _problem(request):
        raise BadMessage(problem, "refused by its head")
    if "Content-Length" in headers or "Transfer-Encoding" in headers:
        length, coding = (_single(headers, name) for name in ("Content-Length", "Transfer-Encoding"))
        request.framing = request_framing(length, coding, old)
    if "Connection" in headers:
        options = [one for value in headers["Connection"] for one in tokens(value.encode())]
        request.keep_alive = keeps_alive(options, old)
        request.websocket = b"upgrade" in options and wants_websocket(request)
    else:
        request.keep_alive = not old
    return request


def _single(headers: dict[str, list[str]], name: str) -> bytes | None:
    """The value of a field that may be there but once."""
    values = headers.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise BadMessage(400, f"two {name} fields")
    return values[0].encode()


def _problem(request: Request) -> int:
    """0, or the status that refuses a request for its head alone."""
    hosts = len(request.headers.get("Host", ()))
    if hosts > 1 or (not hosts and request.proto == "HTTP/1.1"):
        return 400  # RFC 9112 §3.2
    if request.method == "CONNECT":
        return 405  # this is nobody's proxy
    target = request.target
    if not target.startswith("/") and "://" not in target and (target != "*" or request.method != "OPTIONS"):
        return 400  # RFC 9112 §3.2: of no form
    if "Expect" in request.headers and request.first("Expect").lower() != "100-continue":
        return 417
    return 0


DIALECT: Dialect[Request] = Dialect(HEADER_LIMIT, _excess, HEADER_LIMIT, parse_head)
