"""One stream of HTTP/2: the client's side of an exchange.

Rules:

* What comes of a request's body is acknowledged, which has the client send more, once the exchange has a place for it:
  never more than a stream's window waits here.
* What goes to the client waits here while its window is closed or the connection is full, and the upstream is stopped
  meanwhile. A client that opens no window for the route's `send_timeout` has its stream reset.
* What an exchange writes is HTTP/1 (`write`), of which frames are made; it goes out once all that an event brought is
  written (`flush`), so that a head and the end of the answer are one frame.
* A stream ends alone: neither a page nor an answer that is cut ends the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes

from emulab.servers.l7.engine.commands import CLOSE, END, SEND, TELL, Command
from emulab.servers.l7.engine.filters.effect import Page
from emulab.servers.l7.engine.http2.exchange import StreamExchange
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.wire.http1.framing import UNFRAMED, ChunkedBody
from emulab.servers.wire.http1.head import END as END_OF_HEAD
from emulab.servers.wire.http2.fields import FieldList, fields_of

if TYPE_CHECKING:
    from emulab.servers.l7.engine.http2.connection import Http2Machine
    from emulab.servers.l7.personalities.personality import Front, FrontReader


class Http2Stream:
    """The client of one request."""

    __slots__ = (
        "_begun", "_connection", "_done", "_framed", "_head", "_last", "_length", "_unacknowledged", "address", "ahead",
        "around", "body", "closed", "commands", "deadline", "ends", "everywhere", "exchange", "extra", "forwarding",
        "front", "keep", "leaving", "listener", "local", "name", "number", "options", "pending", "personality",
        "policy", "port", "reading", "scheme", "secured", "shown", "stalled", "trailers", "waits",
    )  # fmt: skip

    def __init__(self, connection: Http2Machine, number: int, whole: bool) -> None:
        """`whole`: the request has no body."""
        self._connection = connection
        self.number = number
        self.around = connection.around
        snapshot = connection.around.snapshot
        self.options, self.policy = snapshot.options, snapshot.policy
        self.personality, self.scheme, self.port = connection.personality, connection.scheme, connection.port
        self.name, self.local = connection.name, connection.local
        self.address = connection.address
        self.extra, self.everywhere = connection.extra, connection.everywhere
        self.forwarding, self.ends, self.shown = connection.forwarding, connection.ends, connection.address
        self.listener, self.secured = connection.listener, connection.secured
        self.front: tuple[FrontReader, Front] | None = None
        self.leaving: list[Callable[[], None]] = []
        self.commands: list[Command] = []
        self.deadline = inf
        self.exchange: StreamExchange | None = None
        self.body: object | None = None if whole else self  # what of the request's body hasn't come
        self.waits = whole
        self.keep = self.reading = True
        self.stalled = self.closed = False
        self.ahead = 0  # bytes that the client hasn't taken, since it took no more
        self._unacknowledged = 0
        self._length = UNFRAMED  # what of a body that is measured hasn't come
        self._head: FieldList | None = None  # of the answer, while it isn't out
        self.pending = b""  # what waits for a window
        self.trailers: Sequence[bytes] = ()  # lines that come after the body
        self._framed: ChunkedBody | None = None
        self._begun = False  # whether there is an answer
        self._last = False  # whether all of it is written
        self._done = False  # whether all of it is sent

    # --- events -------------------------------------------------------------------------------------------------

    def admit(self, head: RequestHead, now: float) -> None:
        """The request's head has come."""
        self.around.counters.requests += 1
        self.exchange = exchange = StreamExchange(self, head, now)
        self._length = head.framing
        self.deadline = now + (self.policy.read_timeout if self.waits else self.policy.body_timeout)
        exchange.admit(now)

    def refuse(self, head: RequestHead, status: int, why: str, now: float) -> None:
        """What has come is no request."""
        self.around.counters.requests += 1
        self.exchange = exchange = StreamExchange(self, head, now)
        exchange.refuse(status, why, now)

    def received(self, data: bytes, counted: int, last: bool, now: float) -> None:
        """A piece of the request's body, for which `counted` bytes of the window were used."""
        self._unacknowledged += counted
        exchange = self.exchange
        if last:
            self.body, self.waits = None, True
        if exchange is None or exchange.answered:
            self.flow(now)
            return
        if self._length >= 0:
            self._length -= len(data)
            if self._length < 0 or (last and self._length):
                exchange.fail(400, "the request's body is not as long as its Content-Length", now)
                return
        self.deadline = now + (self.policy.read_timeout if last else self.policy.body_timeout)
        if not exchange.has_room(len(data), 0):
            exchange.fail_too_large(now)
            return
        if data or last:
            exchange.body(data, last, now)
        self.flow(now)

    def left(self, now: float) -> None:
        """The client wants no answer any more."""
        self.closed = True
        if self.exchange is not None:
            self.exchange.client_left(now)
        self._over(now)

    def expired(self, now: float, taken: float) -> None:
        """The deadline has passed. `taken`: when the client last took bytes behind which those of the stream wait."""
        exchange = self.exchange
        if self.stalled and (until := taken + self.policy.send_timeout) > now:
            self.deadline = until
            return
        self.deadline = inf
        if self.stalled or exchange is None or exchange.answered:
            self._reset(ErrorCodes.CANCEL, now)
        else:
            exchange.expired(now)

    # --- what an exchange asks for: see `ClientSide` ------------------------------------------------------------

    def flow(self, now: float) -> None:
        """See `ClientSide`."""
        exchange = self.exchange
        self.reading = exchange is None or exchange.answered or exchange.takes_body
        if not self.reading:
            self.deadline = now + self.policy.send_timeout
        elif self._unacknowledged:
            self._connection.acknowledge(self._unacknowledged, self.number)
            self._unacknowledged = 0

    def send_page(self, page: Page, head: RequestHead) -> tuple[bool, bytes]:
        """See `ClientSide`."""
        written = self.personality.answer(
            page,
            date=self.around.date() + (b"" if page.whole else self.everywhere if page.plain else self.extra),
            close=False,
            head_only=head.method == b"HEAD",
        )
        self.commands.append((SEND, written))
        return False, written

    def go_on(self, status: int, close: bool, now: float) -> None:
        """See `ClientSide`."""
        self.finish(now)

    def linger(self, now: float) -> None:
        """See `ClientSide`."""
        self.finish(now)

    def finish(self, now: float) -> None:
        """See `ClientSide`."""
        self.exchange = None
        self.commands.append((END, None))

    def change_protocol(self) -> bytes:
        """See `ClientSide`: in HTTP/2 no request asks for it."""
        raise AssertionError("a stream has no other protocol")

    def cut_off(self, now: float) -> None:
        """See `ClientSide`."""
        self.exchange = None
        self.commands.append((CLOSE, None))

    def tell(self, event: str, **fields: Any) -> None:
        """See `ClientSide`."""
        self.commands.append((TELL, {**self._connection.told(event), **fields}))

    # --- the answer, as the shell carries it out ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """What HTTP/1 would send of the answer, its head first and as a whole. It goes out by `flush`."""
        if not self._begun:
            self._begun = True
            begun, _, data = data.partition(END_OF_HEAD)
            start, *lines = begun.split(b"\r\n")
            self._head = [(b":status", start.split(b" ")[1]), *fields_of(lines)]
            if any(line[:18].lower() == b"transfer-encoding:" for line in lines):
                self._framed = ChunkedBody()
        if self._framed is not None:
            data, _ = self._framed.feed(data)
        if data:
            self.pending = self.pending + data if self.pending else data

    def end(self) -> None:
        """All of the answer is written."""
        self._last = True

    def cut(self, now: float) -> None:
        """The answer stays as it is, and the client learns of it."""
        self.flush(now)
        self._reset(ErrorCodes.INTERNAL_ERROR, now)

    def flush(self, now: float) -> None:
        """Sends what the window takes, and stops the upstream where that isn't all."""
        if self.closed or not self._begun:
            return
        connection, head = self._connection, self._head
        if head is not None:
            self._head = None
            self._done = self._last and not self.pending and not self.trailers
            connection.frames.send_headers(self.number, head, self._done)
        while not self._done and self.step(now):
            pass
        if self._done:
            self._over(now)
        elif self.pending and not self.stalled:
            self.stalled, self.ahead = True, 0
            self.deadline = now + self.policy.send_timeout
            connection.blocked[self.number] = self
            if self.exchange is not None:
                self.exchange.stalled()

    def step(self, now: float) -> bool:
        """Sends one frame of what waits, if there is a window. Whether there may be another one to send."""
        connection, pending = self._connection, self.pending
        frames = connection.frames
        if pending:
            if connection.stalled:
                return False
            room = min(frames.local_flow_control_window(self.number), frames.max_outbound_frame_size)
            if room <= 0:
                return False
            end = self._last and room >= len(pending) and not self.trailers
            frames.send_data(self.number, pending[:room], end)
            connection.bounds.paid += min(room, len(pending))
            if self.stalled:  # the client takes something, however slowly
                self.deadline = now + self.policy.send_timeout
            self.pending = pending[room:]
            self._done = end
            if self.pending or end:
                return not end
        if self._last:
            if self.trailers:
                frames.send_headers(self.number, fields_of(self.trailers), True)
            else:
                frames.end_stream(self.number)
            self._done = True
        return False

    def resume(self, now: float) -> None:
        """All that waited is out."""
        self.stalled = False
        exchange = self.exchange
        if self._done:
            self._over(now)
            return
        if exchange is None:
            return
        self.deadline = now + (self.policy.read_timeout if self.waits else self.policy.body_timeout)
        if exchange.linked:
            exchange.drain(True)

    # --- the end ------------------------------------------------------------------------------------------------

    def _reset(self, code: ErrorCodes, now: float) -> None:
        if not self.closed:
            self.closed = True
            self._connection.reset(self.number, code)
            if self.exchange is not None:
                self.exchange.client_left(now)
            self._over(now)

    def _over(self, now: float) -> None:
        """Nothing more is to be said on this stream, by either side."""
        self.exchange = None
        if self._unacknowledged:
            self._connection.acknowledge(self._unacknowledged, self.number)
            self._unacknowledged = 0
        if self.body is not None and not self.closed:  # the rest has no taker
            self._connection.reset(self.number, ErrorCodes.NO_ERROR)
        self.closed = True
        self._connection.forget(self, now)
