"""The client's side of a connection over HTTP/1: reading requests in order, and the end.

A machine: events are its methods, with the time as an argument; what it wants done is in `commands` (see there).

Rules:

* One request at a time. What a client pipelines waits in `_held`, with reading paused, until the answer
  before it is out; so answers are in order and a client that doesn't read can't make us grow.
* A client that closes its side is gone, as for nginx: what was under way for it is dropped.
* No timer for each request: `deadline` is what the shell looks at now and then, and `expired` the event.

What becomes of a request between its head and its answer is `exchange.Exchange`'s; an idle connection has none.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from emulab.errors import PeerError
from emulab.servers.l7.engine.commands import ABORT, CLOSE, END, HTTP2, READ, SEND, SETTLE, TELL, Command
from emulab.servers.l7.engine.exchange import Exchange
from emulab.servers.l7.engine.filters.effect import Page
from emulab.servers.l7.engine.secured import ClientIdentity
from emulab.servers.l7.engine.surroundings import EngineSurroundings
from emulab.servers.l7.messages.request import RequestHead, begun_head
from emulab.servers.l7.personalities.personality import Ends, Front, FrontReader
from emulab.servers.wire.http1.framing import UNFRAMED, Body, body_of
from emulab.servers.wire.http1.head import BadMessage
from emulab.servers.wire.http1.reader import HeadReader
from emulab.servers.wire.http2 import PREFACE
from emulab.servers.wire.proxyprotocol import Proxied

LINGER, LINGER_MAX = 5.0, 30.0
"""Seconds for which a client is read from after a final answer: since it last spoke, and in all (`lingering_time`)."""

# Where a connection is in its request. Plain numbers, because they are looked at several times a request.
FIRST = -1  # inside the first head, or before it: the client may speak HTTP/2 as well
HEAD = 0  # between requests, or inside a head
BODY = 1  # the request's body is coming in
WAIT = 2  # the request is whole, its answer isn't
LINGERING = 3  # the last answer is out; what comes in is dropped
TUNNELLED = 4  # no longer HTTP


class ConnectionMachine:
    """What becomes of one client's connection, without its socket."""

    __slots__ = (
        "_held", "_left", "_pipelined", "_reader", "_state", "_until", "address", "ahead", "around", "body",
        "closed", "commands", "deadline", "ends", "everywhere", "exchange", "extra", "forwarding", "front",
        "keep", "leaving", "listener", "local", "name", "options", "personality", "policy", "port", "reading",
        "scheme", "secured", "shown", "stalled",
    )  # fmt: skip

    def __init__(
        self,
        around: EngineSurroundings,
        scheme: str,
        client: tuple[str, str],
        local: tuple[str, str],
        proxied: Proxied | None = None,
        secured: ClientIdentity | None = None,
    ) -> None:
        """`client` and `local` are the connection's ends: the IP address or port, and both as records have them.

        `proxied` is what the peer says of its own client by the PROXY protocol, `secured` what is known of who is at
        the other end of TLS.
        """
        self.around = around
        snapshot = around.snapshot
        self.personality = personality = snapshot.over_tls if scheme == "https" else snapshot.personality
        self.options = snapshot.options
        self.policy = snapshot.policy  # that of the present request's route, once it has one
        self.scheme = scheme
        self.address, self.name = client
        self.shown = self.address  # of who asks, in records, once somebody in front is believed
        self.secured = secured
        port, self.local = local
        self.listener = scheme, port
        self.port = personality.told_port(scheme, port)
        self.ends = Ends(self.address, self.port, scheme, proxied)
        self.front: tuple[FrontReader, Front] | None = None
        self.forwarding = personality.forwarding(self.address, self.port, scheme)
        # More field lines: those of every answer, and those of answers in the name of a route.
        self.everywhere = snapshot.answer_lines
        self.extra = personality.answer_lines(scheme, self.options.hsts) + self.everywhere
        self.commands: list[Command] = []
        self.deadline = inf
        self.exchange: Exchange | None = None
        self._reader = HeadReader(snapshot.dialect)
        self._left = snapshot.options.keepalive_requests  # requests that may still come
        self.ahead = 0  # bytes that the client hasn't taken, since it took no more
        self._state = FIRST
        self._pipelined = False  # whether the present request had come before the answer to the one before it
        # When a client that still sends after the last answer has had long enough to hear it.
        self._until = inf
        self.body: Body | None = None  # what of the request's body hasn't come
        self._held = b""
        self.reading = True
        self.stalled = False  # whether the client takes no more bytes
        self.keep = True
        self.closed = False
        self.leaving: list[Callable[[], None]] = []  # what is to be done once the tunnel is over

    # --- events -------------------------------------------------------------------------------------------------

    def opened(self, now: float, accepted: int, handshake: dict[str, Any] | None) -> None:
        """The connection is there: over TLS after a `handshake`, told if anybody listens; `accepted` is when, or 0."""
        around = self.around
        around.counters.accepted += 1
        self.deadline = now + self.options.header_timeout
        if around.audience.wanted:
            time = {"time": accepted} if accepted else {}
            self.tell("proxy-accept", tls=handshake is not None, **time)
            if handshake is not None:
                self.tell("tls", **handshake)
        if around.closing:
            self.close(now)

    def received(self, data: bytes, now: float) -> None:
        """The client sent something."""
        if self._state <= HEAD and not self._held:
            self._read_head(data, now)
        elif self._held:
            self._held += data
        elif self._state == BODY:
            self._read_body(data, now)
        else:
            self._hold(data, now)

    def gone(self, now: float) -> None:
        """The connection has ended."""
        self.closed = True
        if self.exchange is not None:
            self.exchange.client_left(now)

    def filled(self, now: float) -> None:
        """The client takes no more bytes."""
        self.stalled, self.ahead = True, 0
        self.deadline = now + self.policy.send_timeout
        if self.exchange is not None:
            self.exchange.stalled()

    def drained(self, now: float) -> None:
        """The client takes bytes again."""
        self.stalled = False
        self.deadline = now + self.policy.read_timeout
        if self._state == LINGERING:
            self._begin_to_linger(now)
        elif self.exchange is not None and self.exchange.linked:
            self.exchange.drain(True)
        elif self._state <= HEAD:
            self.settle(now)

    def settle(self, now: float) -> None:
        """Goes on with what was held back. A client that doesn't read its answers gets no more of them."""
        if self._state > HEAD or self.stalled or not self._held or self.closed:
            return
        data, self._held = self._held, b""
        self._pipelined = True
        self._read_head(data, now)
        self.flow(now)

    def expired(self, now: float, taken: float = -inf) -> None:
        """The deadline has passed. `taken`: when the client last took bytes that waited for it."""
        exchange = self.exchange
        if self.stalled or self.closed:
            self.deadline = taken + self.policy.send_timeout
            if self.deadline <= now:
                self.deadline = now + LINGER
                self.commands.append((ABORT, None))
            return
        self.deadline = now + LINGER
        if self._state <= HEAD or self._state == LINGERING or exchange is None or exchange.answered:
            self.close(now)
        else:
            exchange.expired(now)

    def shut_down(self, now: float) -> None:
        """The server ends: the request under way may end, and the connection with it."""
        self.keep = False
        if self._state <= HEAD and not self._reader.partial and not self._held and not self.closed:
            self.close(now)

    # --- reading ------------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes, now: float) -> None:
        reader = self._reader
        begun = reader.partial
        try:
            head = reader.feed(data)
        except PeerError as error:
            if self._state == FIRST and self._begins_http2():
                return
            # Nobody knows where the next request starts.
            status = error.status if isinstance(error, BadMessage) else 400
            self.refuse(reader.partial, status, str(error), now)
            return
        if head is None:
            if not begun:
                self.deadline = now + self.options.header_timeout
            return
        self._begin(head, now).admit(now)
        if rest := reader.rest:
            reader.rest = b""
            if self._state == BODY:
                self._read_body(rest, now)
            else:
                self._hold(rest, now)

    def refuse(self, data: bytes, status: int, why: str, now: float) -> None:
        """Answers a request that can't be taken, of which this has come, with a page of our own."""
        self._begin(begun_head(data), now).refuse(status, why, now)

    def _begins_http2(self) -> bool:
        """Goes on in HTTP/2 where the client begins with its preface, without TLS (RFC 9113, section 3.3).

        No head of HTTP/1 may begin so, and looking at one that is refused costs nothing where none is. As for nginx
        the preface is one at the very beginning alone, and over TLS it is ALPN that decides.
        """
        begun = self._reader.partial
        if (
            not begun.startswith(PREFACE[: len(begun) or 1])
            or self.scheme != "http"
            or not self.options.http2
        ):
            return False
        self._state = TUNNELLED
        self.commands.append((HTTP2, begun))
        return True

    def _begin(self, head: RequestHead, now: float) -> Exchange:
        around = self.around
        around.counters.requests += 1
        snapshot = around.snapshot
        options = self.options = snapshot.options
        self.policy = snapshot.policy
        if head.framing == UNFRAMED:
            self.body, self._state = None, WAIT
        else:
            self.body = body_of(head.framing, self._reader.bare)
            self._state = WAIT if self.body is None else BODY
            self.deadline = now + options.header_timeout
        left = self._left = self._left - 1
        stays = head.keep_alive and options.keepalive_timeout > 0
        self.keep = stays and left > 0 and not (around.closing or around.ending)
        self.exchange = exchange = Exchange(self, head, now)
        return exchange

    def _read_body(self, data: bytes, now: float) -> None:
        body, exchange = self.body, self.exchange
        assert body is not None and exchange is not None
        self.deadline = now + self.policy.body_timeout
        try:
            piece, rest = body.feed(data)
        except PeerError as error:
            exchange.fail(400, str(error), now)
            return
        last = body.done
        if not exchange.answered and not exchange.has_room(len(piece), body.remaining):
            exchange.fail_too_large(now)  # what is left of the body is not a request
            return
        if last:
            self.body = None
            self._state = WAIT
            self.deadline = now + self.policy.read_timeout
        if not exchange.answered:
            exchange.body(piece, last, now)
        elif last:
            self._held, rest = rest, b""
            self.finish(now)
        if rest:
            self._hold(rest, now)

    def _hold(self, data: bytes, now: float) -> None:
        """Puts aside what belongs to the next request."""
        if self._state == LINGERING:
            if not (self.stalled or self.closed):
                self.deadline = min(now + LINGER, self._until)
            return
        self._held += data
        self.flow(now)
        if self._state == HEAD:  # answered already; not from here, a deep pipeline would nest as deep
            self.commands.append((SETTLE, None))

    # --- what an exchange asks for ------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether the request is whole and its answer isn't."""
        return self._state == WAIT

    def flow(self, now: float) -> None:
        """Reads from the client if, and only if, there is a place for what it sends."""
        exchange = self.exchange
        if self._held:
            reading = False
        elif self._state == BODY and exchange is not None and not exchange.answered:
            reading = exchange.takes_body
            if not reading:
                self.deadline = now + self.policy.send_timeout
        else:
            reading = True
        if reading != self.reading and not self.closed:
            self.reading = reading
            self.commands.append((READ, reading))

    def send_page(self, page: Page, head: RequestHead) -> tuple[bool, bytes]:
        """Answers with a page of our own. Whether the connection ends after it, and what was sent."""
        personality = self.personality
        # The client waits for a word before it sends the body.
        refused = self.body is not None and head.expect
        close = not self.keep or refused or page.status in personality.closing
        written = personality.answer(
            page,
            date=self.around.date() + (b"" if page.whole else self.everywhere if page.plain else self.extra),
            close=close,
            head_only=head.method == b"HEAD",
        )
        self.commands.append((SEND, written))
        return close, written

    def go_on(self, status: int, close: bool, now: float) -> None:
        """What comes after a page: the end, the rest of a body that has no taker, or the next request."""
        pending = self.body is not None
        if close and (pending or status in self.personality.closing):
            self.linger(now)
        elif close:
            self._end(now)
        elif pending:
            self.deadline = now + self.policy.body_timeout
            self.flow(now)
        else:
            self.keep = True
            self.finish(now)

    def linger(self, now: float) -> None:
        """Closes our side and drops what still comes, so that no reset overtakes the answer."""
        self._state = LINGERING
        self._held = b""
        self.flow(now)
        if self.stalled:
            self.deadline = now + self.policy.send_timeout
        else:
            self._begin_to_linger(now)
        self.commands.append((END, None))

    def _begin_to_linger(self, now: float) -> None:
        self.deadline, self._until = now + LINGER, now + LINGER_MAX

    def _end(self, now: float) -> None:
        """Ends the connection after its last answer (`ngx_http_finalize_connection`).

        Who has said more than was asked for may go on, and the kernel resets who speaks to a closed socket.
        """
        if self._held or self._reader.rest or self._pipelined:
            self.linger(now)
        else:
            self.close(now)

    def cut_off(self, now: float) -> None:
        """Ends an answer that can't be completed, so that the client learns of it, and has what there is of it."""
        if self.body is not None:
            self.linger(now)
        else:
            self._end(now)

    def finish(self, now: float) -> None:
        """The request is through: on to the next, or the end."""
        self.exchange = None
        if not self.keep or self.around.closing:
            self._end(now)
            return
        self._pipelined = False
        self._state = HEAD
        self.deadline = now + self.options.keepalive_timeout
        if self._held:
            self.commands.append((SETTLE, None))

    def change_protocol(self) -> bytes:
        """The connection isn't HTTP any more. What has come of the new protocol."""
        self._state = TUNNELLED
        self.exchange = None
        held, self._held = self._held, b""
        return held

    def close(self, now: float) -> None:
        """Ends the connection once all that was sent is out; for that the client has as long as for any answer."""
        self.closed = True
        self.deadline = now + self.policy.send_timeout
        self.commands.append((CLOSE, None))

    def tell(self, event: str, **fields: Any) -> None:
        """Tells of this connection. Who calls this for every request asks `audience.wanted` first."""
        self.commands.append((TELL, {"event": event, "client": self.name, "local": self.local, **fields}))
