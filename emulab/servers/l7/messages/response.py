"""Reads responses. Sans-I/O.

One reader serves one upstream connection: `begin` before each request, then `feed` what arrives; `head_done` says
that status and fields are there, body bytes collect in `pieces` decoded from whatever framing they had, and
`complete` says that the response ended. Interim responses (1xx) are swallowed, as they are nobody's who didn't ask
for them, except a 101, after which `tunnel` holds the first bytes of the new protocol.

Lines may end in LF alone, as for nginx: what goes to the client is written anew.

What follows a complete response isn't part of it: nothing of it comes out of the reader, and the connection it came
over carries no other request (`excess`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from emulab.errors import PeerError
from emulab.servers.l7.messages import headers
from emulab.servers.l7.messages.headers import FIRST, LENGTH, ActionTable, without_listed
from emulab.servers.wire.http1.framing import (
    CHUNKED,
    UNTIL_CLOSE,
    Body,
    body_of,
    is_bodiless,
    response_framing,
)
from emulab.servers.wire.http1.head import (
    END,
    Memo,
    check_begun_response,
    keeps_alive,
    parse_field,
    parse_status_line,
    tokens,
)
from emulab.servers.wire.http1.reader import with_whole_ends


def _parse_start(line: bytes) -> tuple[int, bytes, bool, bytes]:
    """Status, reason, whether it is HTTP/1.0, and the line that is passed on."""
    status, reason, old = parse_status_line(line)
    return status, reason, old, b"HTTP/1.1 %d %b\r\n" % (status, reason)


_STARTS = Memo(_parse_start)

HEADS_MAX, HEAD_MAX = 512, 1024
"""Heads of responses that are remembered, and bytes that one of them may have."""


class ResponseHead:
    """What is in the head of a response. It may be that of many which say the same, so nothing of it changes."""

    __slots__ = (
        "bodiless", "connection", "framing", "keeps", "lines", "old", "reason", "start", "status", "upgrade", "written",
    )  # fmt: skip

    def __init__(
        self,
        status: int,
        reason: bytes = b"",
        start: bytes = b"",
        lines: list[bytes] | None = None,
        framing: int = UNTIL_CLOSE,
        *,
        old: bool = False,
        connection: list[bytes] | None = None,
        upgrade: bytes = b"",
    ) -> None:
        """`start` is the status line, as it goes to the client; `old`: HTTP/1.0."""
        self.status, self.reason, self.start = status, reason, start
        self.lines: list[bytes] = lines if lines is not None else []  # that are passed on
        self.old, self.connection, self.upgrade = old, connection, upgrade
        self.bodiless = is_bodiless(status, False)
        # A 204 tells of no length (RFC 9110, section 8.6).
        self.framing = UNTIL_CLOSE if status == 204 else framing
        faulty = old and framing == CHUNKED  # RFC 9112, section 6.1: and is closed after it
        lasting = keeps_alive(connection, old) if connection else not old
        self.keeps = lasting and not faulty  # whether the connection may stay, as far as the head says it
        # For what the head was last written for a client, and how (`compose.plain_response`).
        self.written: tuple[tuple[bytes, bytes, bool, bool, bool], tuple[bytes, bool, bool]] | None = None


_NO_HEAD = ResponseHead(0)


class ResponseFields(Memo[tuple[int, bytes, bytes]]):
    """What to do with a field line, the field's value, and the line that is passed on.

    `heads` are whole heads that were read, as servers that are asked much say the same again and again.
    """

    def __init__(self, make: Callable[[bytes], tuple[int, bytes, bytes]]) -> None:
        super().__init__(make)
        self.heads: dict[bytes, ResponseHead] = {}

    def keep(self, data: bytes, head: ResponseHead) -> None:
        """`head` is what is in `data`."""
        if len(data) <= HEAD_MAX:
            if len(self.heads) >= HEADS_MAX:
                self.heads.clear()
            self.heads[data] = head


def fields_by(actions: ActionTable) -> ResponseFields:
    """What field lines are by the table of a personality."""

    def parse_line(line: bytes) -> tuple[int, bytes, bytes]:
        name, value = parse_field(line)
        return actions[name], value, b"%b: %b\r\n" % (name, value)

    return ResponseFields(parse_line)


class UpstreamResponse:
    """The response side of one upstream connection."""

    __slots__ = (
        "_body", "_checked", "_fields", "_partial", "_to_head", "bodiless", "complete", "excess", "framing", "head",
        "head_done", "lines", "pieces", "status", "tunnel",
    )  # fmt: skip

    trailers: Sequence[bytes] = ()  # lines after the body: over HTTP/1 nobody is told them

    # Set by the head.
    bodiless: bool  # whether there is no body, whatever the fields say
    framing: int
    lines: list[bytes]
    status: int

    def begin(self, to_head: bool, fields: ResponseFields) -> None:
        """Gets ready for the answer to the next request; `to_head`: to a HEAD."""
        self._to_head = to_head
        self._fields = fields
        self._partial = b""
        self._checked = 0
        self._body: Body | None = None
        self.head = _NO_HEAD
        self.complete = self.head_done = False
        self.excess = False  # whether bytes came after the end
        self.tunnel: bytes | None = None
        self.pieces: list[bytes] = []

    @property
    def length(self) -> int | None:
        """The Content-Length, if there is one."""
        return self.framing if self.framing >= 0 else None

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request after this response."""
        if not self.complete or self.excess or not self.head.keeps:
            return False
        return self.bodiless or self.framing != UNTIL_CLOSE

    def feed(self, data: bytes, head_max: int) -> None:
        """Takes bytes. Raises `PeerError` for an invalid response or a head above `head_max` bytes."""
        if self.head_done:
            if data:
                self._take_body(data)
            return
        if not self._partial:
            end = data.find(END)
            if 0 <= end <= head_max - 4 and (head := self._fields.heads.get(data[:end])) is not None:
                self._go_on(head, data[end + 4 :])
                return
        self._read(data, head_max)

    def _read(self, data: bytes, head_max: int) -> None:
        """Reads what may be a head, or interim ones and a head."""
        while True:
            known = max(0, len(self._partial) - 3)
            data, self._partial = self._partial + data, b""
            end = data.find(END, known)
            if end < 0 and (mended := with_whole_ends(data)) is not None:
                data, end = mended, mended.find(END)
            if (end + 4 if end >= 0 else len(data)) > head_max:
                raise PeerError("the response's head is too large")
            if end < 0:
                self._partial = data
                if data:
                    self._checked = check_begun_response(data, self._checked)
                return
            try:
                head = self._fields.heads.get(data[:end]) or self._read_head(data[:end])
            except PeerError:
                mended = with_whole_ends(data)
                if mended is None:
                    raise
                data, end = mended, mended.find(END)
                head = self._read_head(data[:end])
            data = data[end + 4 :]
            self._checked = 0
            if head is not None:
                self._go_on(head, data)
                return

    def _go_on(self, head: ResponseHead, rest: bytes) -> None:
        """The head is there, and what has come after it."""
        self.head, self.status, self.lines = head, head.status, head.lines
        self.head_done = True
        framing = self.framing = head.framing
        bodiless = self.bodiless = head.bodiless or self._to_head
        if len(rest) == framing and not bodiless:  # as most answers come
            self.complete = True
            if rest:
                self.pieces.append(rest)
            return
        self.complete = bodiless or not framing
        if head.status == 101:
            self.tunnel = rest
            return
        if not self.complete:
            self._body = body_of(framing, bare=True)
        if rest:
            self._take_body(rest)

    def _take_body(self, data: bytes) -> None:
        if self.complete:
            self.excess = True
        elif self._body is None:
            self.pieces.append(data)
        else:
            piece, rest = self._body.feed(data)
            if piece:
                self.pieces.append(piece)
            self.complete = self._body.done
            self.excess = bool(rest)

    def _read_head(self, data: bytes) -> ResponseHead | None:
        """What is in a head; None for an interim one, which is nobody's."""
        start, *fields = data.split(b"\r\n")
        status, reason, old, line_out = _STARTS[start]
        lines: list[bytes] = []
        connection: list[bytes] | None = None
        length, coding, upgrade, known, seen = None, None, b"", self._fields, 0
        for field in fields:
            action, value, line = known[field]
            if not action:  # PASS
                lines.append(line)
            elif action >= FIRST:
                if not seen & action:
                    seen |= action
                    lines.append(line)
            elif action == LENGTH:
                if length is not None:
                    raise PeerError("two Content-Length fields")
                length = value
            elif action == headers.CODING:
                if coding is not None:
                    raise PeerError("two Transfer-Encoding fields")
                coding = value
            elif action == headers.CONNECTION:
                found = tokens(value)
                connection = connection + found if connection else found
            elif action == headers.UPGRADE:
                upgrade = value
        if status < 200 and status != 101:
            return None
        if connection:
            lines = without_listed(lines, connection)
        if upgrade and status != 101:
            # What a 426 asks for (RFC 9110, section 15.5.22) and others offer is passed on, as by nginx. HTTP/2 has no
            # such field, and `fields_of` leaves it out there.
            lines.append(b"Upgrade: %b\r\n" % upgrade)
        framing = response_framing(length, coding)
        head = ResponseHead(
            status, reason, line_out, lines, framing, old=old, connection=connection, upgrade=upgrade
        )
        self._fields.keep(data, head)
        return head

    def eof(self) -> bool:
        """The upstream closed: True if that is where the response ends."""
        if self.head_done and self.framing == UNTIL_CLOSE:
            self.complete = True
        return self.complete
