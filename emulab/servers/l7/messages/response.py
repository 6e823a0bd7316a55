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

_KnownHead = tuple[int, bytes, bool, bytes, list[bytes], int, bool, list[bytes] | None, bytes]


class ResponseFields(Memo[tuple[int, bytes, bytes]]):
    """What to do with a field line, the field's value, and the line that is passed on.

    `heads` are whole heads that were read, as servers that are asked much say the same again and again: what the reader
    is set to by each. None of it is changed in place.
    """

    def __init__(self, make: Callable[[bytes], tuple[int, bytes, bytes]]) -> None:
        super().__init__(make)
        self.heads: dict[bytes, _KnownHead] = {}


def fields_by(actions: ActionTable) -> ResponseFields:
    """What field lines are by the table of a personality."""

    def parse_line(line: bytes) -> tuple[int, bytes, bytes]:
        name, value = parse_field(line)
        return actions[name], value, b"%b: %b\r\n" % (name, value)

    return ResponseFields(parse_line)


class UpstreamResponse:
    """The response side of one upstream connection."""

    __slots__ = (
        "_body",
        "_checked",
        "_faulty",
        "_fields",
        "_partial",
        "_to_head",
        "bodiless",
        "complete",
        "connection",
        "excess",
        "framing",
        "head_done",
        "lines",
        "old",
        "pieces",
        "reason",
        "start",
        "status",
        "tunnel",
        "upgrade",
    )

    trailers: Sequence[bytes] = ()  # lines after the body: over HTTP/1 nobody is told them

    # Set by the head.
    bodiless: bool
    framing: int
    lines: list[bytes]
    old: bool
    reason: bytes
    start: bytes  # the status line, as it goes to the client
    status: int
    _faulty: bool

    def begin(self, to_head: bool, fields: ResponseFields) -> None:
        """Gets ready for the answer to the next request; `to_head`: to a HEAD."""
        self._to_head = to_head
        self._fields = fields
        self._partial = b""
        self._checked = 0
        self._body: Body | None = None
        self.complete = self.head_done = False
        self.excess = False  # whether bytes came after the end
        self.tunnel: bytes | None = None
        self.connection: list[bytes] | None = None
        self.upgrade = b""
        self.pieces: list[bytes] = []

    @property
    def length(self) -> int | None:
        """The Content-Length, if there is one."""
        return self.framing if self.framing >= 0 else None

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request after this response."""
        if (
            not self.complete
            or self.excess
            or self._faulty
            or (self.framing == UNTIL_CLOSE and not self.bodiless)
        ):
            return False
        return keeps_alive(self.connection, self.old) if self.connection else not self.old

    def feed(self, data: bytes, head_max: int) -> None:
        """Takes bytes. Raises `PeerError` for an invalid response or a head above `head_max` bytes."""
        while not self.head_done:
            if self._partial:
                known = max(0, len(self._partial) - 3)
                data = self._partial + data
                self._partial = b""
                end = data.find(END, known)
            else:
                end = data.find(END)
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
                self._take_head(data[:end])
            except PeerError:
                mended = with_whole_ends(data)
                if mended is None:
                    raise
                data, end = mended, mended.find(END)
                self.connection, self.upgrade = None, b""
                self._take_head(data[:end])
            data = data[end + 4 :]
            if self.head_done:
                if self.status == 101:
                    self.tunnel = data
                    return
                if self.complete:
                    break
                if len(data) == self.framing:  # as most answers come
                    self.pieces.append(data)
                    self.complete = True
                    return
                self._body = body_of(self.framing, bare=True)
            self._checked = 0
        if data:
            self._take_body(data)

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

    def _take_head(self, head: bytes) -> None:
        known = self._fields.heads.get(head)
        if known is None:
            self._read_head(head)
            return
        (
            self.status,
            self.reason,
            self.old,
            self.start,
            self.lines,
            framing,
            self._faulty,
            self.connection,
            self.upgrade,
        ) = known
        self._framed(framing)

    def _read_head(self, head: bytes) -> None:
        start, *fields = head.split(b"\r\n")
        status, self.reason, self.old, self.start = _STARTS[start]
        self.status = status
        lines: list[bytes] = []
        length, coding, known, seen = None, None, self._fields, 0
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
                self.connection = self.connection + found if self.connection else found
            elif action == headers.UPGRADE:
                self.upgrade = value
        if status < 200 and status != 101:
            self.connection, self.upgrade = None, b""
            return
        framing = response_framing(length, coding)
        self._faulty = self.old and framing == CHUNKED  # RFC 9112, section 6.1: and is closed after it
        self.lines = without_listed(lines, self.connection) if self.connection else lines
        if len(head) <= HEAD_MAX:
            heads = self._fields.heads
            if len(heads) >= HEADS_MAX:
                heads.clear()
            heads[head] = (
                *(status, self.reason, self.old, self.start, self.lines, framing),
                *(self._faulty, self.connection, self.upgrade),
            )
        self._framed(framing)

    def _framed(self, framing: int) -> None:
        """The head is there: whether there is a body, and where it ends."""
        status = self.status
        self.head_done = True
        bodiless = self.bodiless = self._to_head or (status != 200 and is_bodiless(status, False))
        if status == 204:
            framing = UNTIL_CLOSE  # such an answer tells of no length (RFC 9110, section 8.6)
        self.complete = bodiless or not framing
        self.framing = framing

    def eof(self) -> bool:
        """The upstream closed: True if that is where the response ends."""
        if self.head_done and self.framing == UNTIL_CLOSE:
            self.complete = True
        return self.complete
