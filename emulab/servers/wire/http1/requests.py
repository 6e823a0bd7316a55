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
from functools import lru_cache

from emulab.servers.wire.http1.framing import Body, body_of, request_framing
from emulab.servers.wire.http1.head import (
    END,
    BadMessage,
    Memo,
    check_begun_request,
    parse_field,
    parse_request_line,
)

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

    __slots__ = ("arrived", "body_bytes", "headers", "keep_alive", "method", "proto", "target", "websocket")

    def __init__(self, method: str, target: str, proto: str, headers: dict[str, list[str]]) -> None:
        self.method = method
        self.target = target  # as it stood in the request line, query included
        self.proto = proto  # "HTTP/1.1"
        self.headers = headers  # canonical name → values, in order
        self.body_bytes = 0
        self.keep_alive = True
        self.websocket = False
        self.arrived = 0.0  # seconds of the connection's clock; for records alone

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
        "_blank",
        "_body",
        "_checked",
        "_held",
        "_partial",
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
        self._partial = b""  # a head that isn't whole
        self._checked = 0  # how much of it is known to be good
        self._blank = 0  # bytes of empty lines before it
        self._held: Request | None = None  # the request whose body is being read
        self._body: Body | None = None

    @property
    def in_message(self) -> bool:
        """Whether a request has begun and isn't whole."""
        return self._held is not None or bool(self._partial)

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the connection. Never raises: what is wrong is told by `failure`."""
        try:
            while data and not self.failure and not self.upgraded:
                data = self._take_head(data) if self._body is None else self._take_body(self._body, data)
        except BadMessage as error:
            self.failure = error.status
            begun = self._held.method if self._held is not None else self._partial[:5]
            self.to_head = begun in ("HEAD", b"HEAD ")
        if self.upgraded:
            self.rest += data

    def _take_head(self, data: bytes) -> bytes:
        known = len(self._partial)
        if known:
            data = self._partial + data
        elif data[0] in b"\r\n":
            # Empty lines before a request are no request (RFC 9112 §2.2).
            size = len(data)
            data = data.lstrip(b"\r\n")
            self._blank += size - len(data)
        end = data.find(END, max(0, known - 3))
        if (len(data) if end < 0 else end + 4) + self._blank > HEADER_LIMIT:
            if data:
                check_begun_request(data[:HEADER_LIMIT], 0)
            raise BadMessage(431, "the request's head is too large")
        self._partial = data
        if end < 0:
            if data:
                self._checked = check_begun_request(data, self._checked)
            return b""
        request, self._body = parse_head(data[:end])
        self._partial, self._checked, self._blank = b"", 0, 0
        self._held = request
        if self._body is None:
            self._finish()
        else:
            self.expecting = "Expect" in request.headers and request.proto != "HTTP/1.0"
        return data[end + 4 :]

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


def parse_head(head: bytes) -> tuple[Request, Body | None]:
    """What is in a head, given without the empty line at its end, and the reader of the body. Raises `BadMessage`."""
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
    body = None
    if "Content-Length" in headers or "Transfer-Encoding" in headers:
        length, coding = (_single(headers, name) for name in ("Content-Length", "Transfer-Encoding"))
        body = body_of(request_framing(length, coding, old))
    if "Connection" in headers:
        options = {option.strip().lower() for value in headers["Connection"] for option in value.split(",")}
        request.keep_alive = "close" not in options and (not old or "keep-alive" in options)
        request.websocket = "upgrade" in options and wants_websocket(request)
    else:
        request.keep_alive = not old
    return request, body


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
