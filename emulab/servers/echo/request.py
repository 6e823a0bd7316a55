"""Bytes of one HTTP/1.1 connection into requests: sans-I/O, over httptools (llhttp).

Rules:

* Bodies are counted and dropped, so a body of any size costs nothing.
* Headers are bounded by `HEADER_LIMIT`. llhttp has no limit of its own, hence the bytes are counted twice:
  complete header lines as they come, and the bytes fed since the last sign of progress, which bounds a
  line (or a trailer, or blank lines before a request) that never ends.
* llhttp stops at every `Upgrade`. Only a WebSocket is really one; after any other the reader goes on as
  if the header were not there, as RFC 9110 §7.8 lets a server do (curl's `--http2` asks for h2c).
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from functools import lru_cache

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

HEADER_LIMIT = 64 * 1024  # bytes of request line and headers; more is answered with 431

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


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


def websocket_problem(request: Request) -> int:
    """0 if the WebSocket handshake is right, else the status that refuses it."""
    if request.method != "GET" or request.proto != "HTTP/1.1":
        return 400
    if request.first("Sec-Websocket-Version") != "13":
        return 426
    try:
        key = base64.b64decode(request.first("Sec-Websocket-Key"), validate=True)
    except (binascii.Error, ValueError):
        return 400
    return 0 if len(key) == 16 else 400


class RequestReader:
    """Feeds on bytes; whole requests come out of `requests`, in order."""

    __slots__ = (
        "_headers",
        "_held",
        "_parser",
        "_quiet",
        "_size",
        "_target",
        "_trailer",
        "expecting",
        "failure",
        "in_message",
        "requests",
        "rest",
        "upgraded",
    )

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.failure = 0  # the status that ends the connection, once set
        self.expecting = False  # the client waits for `100 Continue`
        self.in_message = False  # a request has begun and isn't whole
        self.upgraded = False  # the last request switches to WebSocket; later bytes are in `rest`
        self.rest = b""
        self._parser = HttpRequestParser(self)
        self._held: Request | None = None  # the request whose body is being read
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._quiet = 0
        self._trailer = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the connection. Never raises: what is wrong is told by `failure`."""
        if self.upgraded:
            self.rest += data
            return
        while data and not self.failure:
            self._quiet += len(data)
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                data = self._after_upgrade(data[upgrade.args[0] :])
                continue
            except HttpParserError:
                self.failure = self.failure or 400
            break
        if self._quiet > HEADER_LIMIT:
            self.failure = self.failure or 431

    def _after_upgrade(self, rest: bytes) -> bytes:
        """What is to be parsed after llhttp has stopped at an upgrade."""
        if self.failure or not self.requests:
            return b""
        request = self.requests[-1]
        if request.websocket:
            self.upgraded, self.rest = True, rest
            return b""
        self._parser = HttpRequestParser(self)
        framing = [name for name in ("Transfer-Encoding", "Content-Length") if name in request.headers]
        if not framing:
            return rest
        # llhttp takes the body for the new protocol's bytes. A fresh parser that is told the framing
        # alone reads it as what it is.
        self._held = self.requests.pop()
        head = f"POST / {request.proto}\r\n"
        head += "".join(f"{name}: {','.join(request.headers[name])}\r\n" for name in framing)
        if not request.keep_alive:
            head += "Connection: close\r\n"
        return f"{head}\r\n".encode("utf-8", "replace") + rest

    # What llhttp calls.

    def on_message_begin(self) -> None:
        self.in_message = True
        self._trailer = False
        self._size = 0
        self._headers = []
        self._target = b""

    def on_url(self, part: bytes) -> None:
        self._size += len(part)
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + 4
        if not self._trailer:
            self._headers.append((name, value))
        elif self._size > HEADER_LIMIT:
            self.failure = 431

    def on_headers_complete(self) -> None:
        self._trailer = True
        self._quiet = 0
        if self._held is not None:
            return
        if self._size > HEADER_LIMIT:
            self.failure = 431
            raise ValueError("headers too large")
        headers: dict[str, list[str]] = {}
        for name, value in self._headers:
            # Go writes invalid UTF-8 to JSON as U+FFFD; the value's own bytes are of no use to anyone.
            headers.setdefault(canonical(name), []).append(value.decode("utf-8", "replace").rstrip(" \t"))
        parser = self._parser
        method = parser.get_method().decode("ascii")
        target = self._target.decode("utf-8", "replace")
        request = Request(method, target, f"HTTP/{parser.get_http_version()}", headers)
        self.failure = _problem(request)
        if self.failure:
            raise ValueError("refused by its head")
        request.keep_alive = parser.should_keep_alive()
        request.websocket = "Upgrade" in headers and parser.should_upgrade() and wants_websocket(request)
        self.expecting = "Expect" in headers and request.proto != "HTTP/1.0"
        self._held = request

    def on_body(self, part: bytes) -> None:
        self._quiet = 0
        self.expecting = False  # the body is on its way already (RFC 9110 §10.1.1)
        if self._held is not None:
            self._held.body_bytes += len(part)

    def on_message_complete(self) -> None:
        self._quiet = 0
        self.in_message = False
        self.expecting = False
        if self._held is not None:
            self.requests.append(self._held)
            self._held = None


def _problem(request: Request) -> int:
    """0, or the status that refuses a request for its head alone."""
    hosts = len(request.headers.get("Host", ()))
    if hosts > 1 or (not hosts and request.proto == "HTTP/1.1"):
        return 400  # RFC 9112 §3.2
    if request.proto not in ("HTTP/1.1", "HTTP/1.0"):
        return 505
    if request.method == "CONNECT":
        return 405  # this is nobody's proxy
    if "Expect" in request.headers and request.first("Expect").lower() != "100-continue":
        return 417
    return 0
