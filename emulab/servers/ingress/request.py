"""Reads request heads. Sans-I/O.

httptools (llhttp, strict) parses one head at a time; the body is framed by `framing`, because llhttp
would run on into the next pipelined request. So every head is cut at its empty line first.

Errors are `BadRequest` with nginx's status: 400 for a malformed head, 414 for a request line above 8k,
494 (a 400 on the wire) for a field above 8k or a head above 32k (`large_client_header_buffers 4 8k`),
501 for a transfer coding other than chunked. A request with both Content-Length and
Transfer-Encoding, with two of either, or with a list in one of them is refused (RFC 9112, section 6.1).
"""

from __future__ import annotations

from emulab.errors import PeerError
from emulab.servers.ingress import headers, pages
from emulab.servers.ingress._httptools import ParserError, ParserUpgrade, request_parser
from emulab.servers.ingress.framing import Body, ChunkedBody, LengthBody
from emulab.servers.ingress.headers import REQUEST_ACTIONS, tokens, without_listed

LINE_MAX = 8192
HEAD_MAX = 4 * LINE_MAX
_END = b"\r\n\r\n"


class BadRequest(PeerError):
    """A head that is answered with `status` and the end of the connection."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class RequestHead:
    """One request's head. Class attributes are the defaults, so that making one costs almost nothing."""

    method = b""
    target = b""
    old = False  # HTTP/1.0
    host: bytes | None = None
    lines: list[bytes]  # fields that are passed on, each ending in CRLF
    length: int | None = None
    chunked = False
    connection: list[bytes] | None = None
    upgrade = b""
    expect = False
    request_id = b""
    forwarded_for = b""
    forwarded_host = b""
    forwarded_port = b""
    forwarded_proto = b""

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants the connection to stay (RFC 9112, section 9.3)."""
        if self.connection:
            if b"close" in self.connection:
                return False
            if self.old:
                return b"keep-alive" in self.connection
        return not self.old

    @property
    def upgrades(self) -> bool:
        """Whether the client asks to change the protocol (RFC 9110, section 7.8)."""
        return bool(self.upgrade) and b"upgrade" in (self.connection or ()) and not self.old

    def body(self) -> Body | None:
        """The reader of this request's body, None if there is none."""
        if self.chunked:
            return ChunkedBody()
        if self.length:
            return LengthBody(self.length)
        return None


def head_excess(head: bytes) -> int:
    """The status for a head, whole or partial, that is larger than allowed; 0 if it isn't."""
    if len(head) <= LINE_MAX:
        return 0
    lines = head.split(b"\r\n")
    if len(lines[0]) > LINE_MAX:
        return 414
    if len(head) > HEAD_MAX or max(map(len, lines)) > LINE_MAX:
        return pages.HEADER_TOO_LARGE
    return 0


class RequestReader:
    """Turns bytes into heads, one at a time; `rest` holds what follows the head."""

    __slots__ = ("_complete", "_head", "_parser", "_partial", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._partial = b""
        self._complete = False
        self._start()

    def _start(self) -> None:
        self._parser = request_parser(self)
        self._head = RequestHead()
        self._head.lines = []

    @property
    def idle(self) -> bool:
        """Whether no byte of a head has come yet."""
        return not self._partial

    def feed(self, data: bytes) -> RequestHead | None:
        """The head that `data` completes, or None. Raises `BadRequest`."""
        while True:
            if self._partial:
                known = len(self._partial)
                whole = self._partial + data
                end = whole.find(_END, max(0, known - 3))
                fresh = whole[known : end + 4] if end >= 0 else data
            else:
                known, whole = 0, data
                end = data.find(_END)
                fresh = data[: end + 4] if end >= 0 else data
            if len(whole) > LINE_MAX and (status := head_excess(whole[:end] if end >= 0 else whole)):
                raise BadRequest(status, "the request's head is too large")
            self._parse(fresh)
            if end < 0:
                self._partial = whole if whole.strip(b"\r\n") else b""
                return None
            self._partial = b""
            data = whole[end + 4 :] if end + 4 < len(whole) else b""
            if self._complete:
                self.rest = data
                return self._finish()
            if not data:  # empty lines before a request are no request (RFC 9112, section 2.2)
                return None

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except ParserUpgrade:
            pass  # llhttp hands over here; whether the protocol changes is the upstream's answer to give
        except ParserError as error:
            cause = error.__context__
            if isinstance(cause, BadRequest):
                raise cause from None
            raise BadRequest(400, str(error)) from None

    def _finish(self) -> RequestHead:
        head = self._head
        self._complete = False
        if head.length or head.chunked or head.connection:
            self._start()  # llhttp waits for a body, or has ended; a new one costs less than talking it over
        else:
            self._head = RequestHead()
            self._head.lines = []
        if head.connection:
            head.lines = without_listed(head.lines, head.connection)
        if head.host is None and not head.old:
            raise BadRequest(400, "no Host")
        if head.old and head.chunked:
            raise BadRequest(400, "chunked in HTTP/1.0")
        return head

    def on_url(self, url: bytes) -> None:
        self._head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        action = REQUEST_ACTIONS[name]
        if not action:  # PASS
            self._head.lines.append(name + b": " + value + b"\r\n")
        elif action == headers.HOST:
            if self._head.host is not None:
                raise BadRequest(400, "two Host fields")
            self._head.host = value.strip(b" \t")
        elif action != headers.DROP:
            self._special(action, value.strip(b" \t"))

    def _special(self, action: int, value: bytes) -> None:
        head = self._head
        if action == headers.LENGTH:
            if head.length is not None or head.chunked or not value.isdigit() or len(value) > 18:
                raise BadRequest(400, "Content-Length is malformed, or not alone")
            head.length = int(value)
            head.lines.append(b"Content-Length: %d\r\n" % head.length)
        elif action == headers.CODING:
            if head.chunked or head.length is not None:
                raise BadRequest(400, "Transfer-Encoding is not alone")
            if value.lower() != b"chunked":
                raise BadRequest(501, "unknown transfer coding")
            head.chunked = True
        elif action == headers.CONNECTION:
            found = tokens(value)
            head.connection = head.connection + found if head.connection else found
        elif action == headers.UPGRADE:
            head.upgrade = value
        elif action == headers.EXPECT:
            head.expect = value.lower() == b"100-continue"
        elif action == headers.REQUEST_ID:
            head.request_id = value
        elif action == headers.FORWARDED_FOR:
            head.forwarded_for = head.forwarded_for + b", " + value if head.forwarded_for else value
        elif action == headers.FORWARDED_HOST:
            head.forwarded_host = value
        elif action == headers.FORWARDED_PORT:
            head.forwarded_port = value
        elif action == headers.FORWARDED_PROTO:
            head.forwarded_proto = value

    def on_headers_complete(self) -> None:
        head = self._head
        head.method = self._parser.get_method()
        head.old = self._parser.get_http_version() == "1.0"
        self._complete = True
