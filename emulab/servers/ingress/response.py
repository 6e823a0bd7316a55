"""Reads responses. Sans-I/O.

One reader serves one upstream connection: `begin` before each request, then `feed` what arrives; `head`
is there once `head_done`, body bytes collect in `pieces` decoded from whatever framing they had, and
`complete` says that the response ended. Interim responses (1xx) are swallowed, as nginx swallows them,
except a 101, after which `tunnel` holds the first bytes of the new protocol.
"""

from __future__ import annotations

from emulab.errors import PeerError
from emulab.servers.ingress import headers
from emulab.servers.ingress._httptools import ParserError, ParserUpgrade, response_parser
from emulab.servers.ingress.headers import RESPONSE_ACTIONS, tokens, without_listed

_END = b"\r\n\r\n"


class ResponseReader:
    """The response side of one upstream connection."""

    __slots__ = (
        "_head_only",
        "_parser",
        "_partial",
        "_pending",
        "complete",
        "connection",
        "excess",
        "head_done",
        "length",
        "lines",
        "old",
        "pieces",
        "reason",
        "status",
        "tunnel",
        "until_close",
        "upgrade",
    )

    def __init__(self) -> None:
        self._parser = response_parser(self)
        self._head_only = False
        self.begin(False)

    def begin(self, head_only: bool) -> None:
        """Gets ready for the answer to the next request; `head_only`: to a HEAD."""
        if self._head_only:
            self._parser = response_parser(self)  # the last one still waits for the body of a HEAD
        self._head_only = head_only
        self._partial = b""
        self._pending = 0
        self.complete = self.excess = False
        self.tunnel: bytes | None = None
        self.pieces: list[bytes] = []
        self._reset()

    def _reset(self) -> None:
        self.head_done = self.until_close = self.old = False
        self.status = 0
        self.reason = b""
        self.lines: list[bytes] = []
        self.length: int | None = None
        self.connection: list[bytes] | None = None
        self.upgrade = b""

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request after this response."""
        if self.until_close or self.excess or not self.complete:
            return False
        if self.connection:
            if b"close" in self.connection:
                return False
            if self.old:
                return b"keep-alive" in self.connection
        return not self.old

    def feed(self, data: bytes, head_max: int) -> None:
        """Takes bytes. Raises `PeerError` for an invalid response or a head above `head_max` bytes."""
        if not self.head_done:
            before, self._pending = self._pending, self._pending + len(data)
            if self._pending > head_max:
                end = data.find(_END)
                if end < 0 or before + end > head_max:
                    raise PeerError("the response's head is too large")
        try:
            if self._head_only:
                self._feed_head(data)
            else:
                self._parser.feed_data(data)
        except ParserUpgrade as switch:
            if self.status != 101:
                raise PeerError("the protocol changed without a 101") from None
            self.tunnel = data[switch.args[0] :]
        except ParserError as error:
            if not self.complete:
                raise PeerError(f"invalid response: {error.__context__ or error}") from None
            self.excess = True

    def _feed_head(self, data: bytes) -> None:
        """Feeds whole heads alone: to a HEAD, llhttp would wait for a body that never comes."""
        self._partial += data
        while not self.complete and (end := self._partial.find(_END)) >= 0:
            head, self._partial = self._partial[: end + 4], self._partial[end + 4 :]
            self._parser.feed_data(head)
        if self.complete and self._partial:
            self.excess = True

    def eof(self) -> bool:
        """The upstream closed: True if that is where the response ends."""
        if self.head_done and self.until_close:
            self.complete = True
        return self.complete

    def on_message_begin(self) -> None:
        if self.complete:
            self.excess = True

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:
            return  # a trailer
        action = RESPONSE_ACTIONS[name]
        if not action:  # PASS
            self.lines.append(name + b": " + value + b"\r\n")  # formatting would take twice as long
        elif action == headers.LENGTH:
            self.length = int(value)
        elif action == headers.CONNECTION:
            found = tokens(value)
            self.connection = self.connection + found if self.connection else found
        elif action == headers.CODING:
            if value.strip(b" \t").lower() != b"chunked":
                raise PeerError("unknown transfer coding")
            self.length = -1
        elif action == headers.UPGRADE:
            self.upgrade = value

    def on_headers_complete(self) -> None:
        if self.excess:
            return
        self.status = self._parser.get_status_code()
        self.old = self._parser.get_http_version() == "1.0"
        self.head_done = True
        chunked = self.length == -1
        if chunked:
            self.length = None
        if self.connection:
            self.lines = without_listed(self.lines, self.connection)
        if self._head_only and not 100 <= self.status < 200:
            self.complete = True
        elif self.length is None and not chunked and self.status not in (204, 304) and self.status >= 200:
            self.until_close = True

    def on_body(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        if self.excess:
            return
        if 100 <= self.status < 200:
            if self.status != 101:
                self._pending = 0
                self._reset()
        else:
            self.complete = True
