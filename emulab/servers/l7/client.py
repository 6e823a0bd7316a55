"""The client's side of a connection: reading requests in order, answering with pages, and the end.

Rules:

* One request at a time. What a client pipelines waits in `_held`, with reading paused, until the answer
  before it is out; so answers are in order and a client that doesn't read can't make us grow.
* A client that closes its side is gone, as for nginx: what was under way for it is dropped.
* No timer for each request: `deadline` is looked at by `Context.sweep`.

What becomes of a request between its head and its answer is `downstream.Downstream`'s.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import perf_counter, time_ns
from typing import Any, cast

from emulab.errors import PeerError
from emulab.servers.l7 import pages
from emulab.servers.l7.context import Context
from emulab.servers.l7.headers import forwarding_lines
from emulab.servers.l7.request import RequestHead, RequestReader
from emulab.servers.l7.routes import NO_RULE, Rule
from emulab.servers.l7.upstream import Upstream, format_address
from emulab.servers.wire.framing import Body
from emulab.servers.wire.head import BadMessage

KEEP_MAX = 65536
"""Bytes of a request that are kept for another try."""
LINGER = 5.0
"""Seconds for which a client that still sends is read from after a final answer (`lingering_timeout`)."""
CLIENT_CLOSED = 499
"""nginx's status, in records alone, for a client that left."""


# Where a connection is in its request. Plain numbers, because they are looked at several times a request.
HEAD = 0  # between requests, or inside a head
BODY = 1  # the request's body is coming in
WAIT = 2  # the request is whole, its answer isn't
LINGERING = 3  # the last answer is out; what comes in is dropped


class ClientConnection(asyncio.Protocol):
    """The protocol of a client's connection, but for what lies upstream."""

    __slots__ = (
        "_accepted",
        "_answered",
        "_body",
        "_context",
        "_extra",
        "_forwarding",
        "_head",
        "_head_sent",
        "_held",
        "_keep",
        "_kept",
        "_kept_size",
        "_local",
        "_loop",
        "_options",
        "_port",
        "_reader",
        "_reading",
        "_received",
        "_rule",
        "_scheme",
        "_server",
        "_started",
        "_state",
        "_upstream",
        "_write_paused",
        "address",
        "deadline",
        "name",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, context: Context, tls: bool) -> None:
        self._context = context
        self._options = context.snapshot.options
        self._scheme = "https" if tls else "http"
        # The loop makes the protocol when it accepts, and tells of the connection after the TLS handshake.
        self._accepted = time_ns() if context.emit.wanted else 0
        self._reader = RequestReader()
        self._state = HEAD
        self._held = b""
        self._reading = True
        self._write_paused = False
        self._upstream: Upstream | None = None
        self._head: RequestHead | None = None
        self._body: Body | None = None
        self._rule: Rule | None = None
        self._kept: list[bytes] | None = None  # what was or will be sent upstream, for another try
        self._kept_size = 0
        self._received = 0
        self._server = ""
        self._started = 0.0
        self._keep = True
        self._answered = self._head_sent = False
        self._extra = b""
        self.deadline = inf

    def _admit(self, head: RequestHead) -> None:
        """Decides what becomes of a request."""
        raise NotImplementedError

    def _pass_body(self, piece: bytes, last: bool) -> None:
        """Takes a piece of the request's body."""
        raise NotImplementedError

    def _try_failed(self, status: int, why: str, *, untouched: bool, sent: bool = True) -> None:
        """The upstream didn't answer in time."""
        raise NotImplementedError

    def _end_short(self, why: str) -> None:
        """Ends a response that can't be completed."""
        raise NotImplementedError

    def _detach(self) -> None:
        """Lets go of the upstream, or of the way to it."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context = self._context
        self.transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        peer = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        self.name = format_address(peer)
        self._local = format_address(local)
        self.address = peer[0] if peer else ""
        # ingress-nginx tells 443 for TLS whatever port it listens on inside its pod.
        self._port = "443" if self._scheme == "https" else str(local[1] if local else 80)
        self._forwarding = forwarding_lines(self.address, self._port, self._scheme)
        if self._scheme == "https" and self._options.hsts:
            self._extra = f"Strict-Transport-Security: {self._options.hsts}\r\n".encode("latin-1")
        self.deadline = context.clock() + self._options.header_timeout
        context.clients.add(self)
        context.counters.accepted += 1
        if context.emit.wanted:
            self._tell_accepted()
        if context.closing:
            self.transport.close()

    def _tell_accepted(self) -> None:
        secure = self.transport.get_extra_info("ssl_object")
        time = {"time": self._accepted} if self._accepted else {}
        self._tell("proxy-accept", tls=secure is not None, **time)
        if secure is not None:
            self._tell("tls", **self._context.certificates.told(secure))

    def _tell(self, event: str, **fields: Any) -> None:
        """Tells of this connection. Who calls this for every request asks `emit.wanted` first."""
        common = {"event": event, "client": self.name, "local": self._local}
        self._context.emit({**common, **fields})

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.clients.discard(self)
        if self._head is not None and not self._answered:
            self._record(CLIENT_CLOSED, "", "client closed the connection")
        self._detach()
        self._context.left()

    def eof_received(self) -> None:
        """A client that closes its side is gone, as for nginx: the answer has nowhere to go."""

    def pause_writing(self) -> None:
        self._write_paused = True
        self.deadline = self._context.clock() + self._options.send_timeout
        if self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self.deadline = self._context.clock() + self._options.read_timeout
        if self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.resume_reading()
        elif self._state == HEAD:
            self._settle()

    def shutdown(self) -> None:
        """Lets the request under way end, and the connection with it."""
        self._keep = False
        if self._state == HEAD and self._reader.idle and not self._held:
            self.transport.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()

    def expire(self, now: float) -> None:
        """Called when the deadline has passed."""
        self.deadline = now + LINGER
        upstream = self._upstream
        if self._state == LINGERING or self._write_paused:
            self.transport.abort()
        elif self._state == HEAD or self._answered:
            self.transport.close()
        elif self._state == BODY and not (upstream is not None and upstream.write_paused):
            self._fail(408, f"client sent no more of the body for {self._options.body_timeout:g} s")
        elif upstream is not None:
            upstream.drop()
            why = f"upstream timed out: no answer within {self._options.read_timeout:g} s"
            self._try_failed(504, why, untouched=not upstream.touched)

    def data_received(self, data: bytes) -> None:
        if self._held:
            self._held += data
        elif self._state == HEAD:
            self._read_head(data)
        elif self._state == BODY:
            self._read_body(data)
        else:
            self._hold(data)

    def _read_head(self, data: bytes) -> None:
        if self._reader.idle:
            self.deadline = self._context.clock() + self._options.header_timeout
        try:
            head = self._reader.feed(data)
        except PeerError as error:
            self._refuse(error)
            return
        if head is not None:
            self._begin(head)
            self._admit(head)
            if rest := self._reader.rest:
                if self._state == BODY:
                    self._read_body(rest)
                else:
                    self._hold(rest)

    def _refuse(self, error: PeerError) -> None:
        """Answers a head that can't be taken, and ends the connection: nobody knows where the next one starts."""
        self._begin(self._reader.refused)
        self._fail(error.status if isinstance(error, BadMessage) else 400, str(error))

    def _begin(self, head: RequestHead) -> None:
        self._context.counters.requests += 1
        self._options = self._context.snapshot.options
        self._head = head
        self._started = perf_counter()
        self._body = head.body()
        self._state = WAIT if self._body is None else BODY
        self._keep = head.keep_alive and not self._context.closing and self._options.keepalive_timeout > 0
        self._rule = None
        self._server = ""
        self._received = 0
        self._answered = self._head_sent = False

    def _read_body(self, data: bytes) -> None:
        body = self._body
        assert body is not None
        self.deadline = self._context.clock() + self._options.body_timeout
        try:
            piece, rest = body.feed(data)
        except PeerError as error:
            self._fail(400, str(error))
            return
        self._received += len(piece)
        if body.done:
            self._body = None
            self._state = WAIT
            self.deadline = self._context.clock() + self._options.read_timeout
        if not self._answered:
            limit = self._options.client_max_body
            if limit and self._received + body.remaining > limit:
                self._body = body  # what is left of it is not a request
                self._fail(413, f"request body is larger than {limit} bytes")
                return
            self._pass_body(piece, body.done)
        elif body.done:
            self._finish()
        if rest:
            self._hold(rest)

    def _hold(self, data: bytes) -> None:
        """Puts aside what belongs to the next request."""
        if self._state == LINGERING:
            return
        self._held += data
        self._flow()
        if self._state == HEAD:  # answered already; not from here, a deep pipeline would nest as deep
            self._loop.call_soon(self._settle)

    def _flow(self) -> None:
        """Reads from the client if, and only if, there is a place for what it sends."""
        upstream = self._upstream
        if self._held:
            reading = False
        elif self._state == BODY and not self._answered:
            full = self._kept is not None and self._kept_size > KEEP_MAX
            reading = not upstream.write_paused if upstream is not None else not full
            if not reading:
                self.deadline = self._context.clock() + self._options.send_timeout
        else:
            reading = True
        if reading != self._reading and not self.transport.is_closing():
            self._reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _fail(self, status: int, why: str, location: bytes = b"") -> None:
        """Answers with a page of our own, if there is still a place for it; `why` is for records."""
        self._detach()
        head = self._head
        if head is None or self._answered or self.transport.is_closing():
            return
        if self._head_sent:
            self._end_short(why)
            return
        pending = self._body is not None
        close = not self._keep or status in pages.CLOSING or (pending and head.expect)
        self.transport.write(
            pages.answer(
                status,
                date=self._context.date() + self._extra,
                close=close,
                head_only=head.method == b"HEAD",
                location=location,
            )
        )
        self._context.counters.errors += 1
        self._record(status, "ingress", why)
        if close and (pending or status in pages.CLOSING):
            self._linger()
        elif close:
            self.transport.close()
        elif pending:
            self.deadline = self._context.clock() + self._options.body_timeout
            self._flow()
        else:
            self._keep = True
            self._finish()

    def _linger(self) -> None:
        """Closes our side and drops what still comes, so that no reset overtakes the answer."""
        self._state = LINGERING
        self._held = b""
        self._flow()
        self.deadline = self._context.clock() + LINGER
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _finish(self) -> None:
        """The request is through: on to the next, or the end."""
        self._head = self._kept = None
        if not self._keep or self._context.closing:
            self.transport.close()
            return
        self._state = HEAD
        self.deadline = self._context.clock() + self._options.keepalive_timeout
        if self._held:
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        """Goes on with what was held back. A client that doesn't read its answers gets no more of them."""
        if self._state != HEAD or self._write_paused or not self._held or self.transport.is_closing():
            return
        data, self._held = self._held, b""
        self._read_head(data)
        self._flow()

    def _record(self, status: int, answered_by: str = "upstream", reason: str = "") -> None:
        """Tells of a request that is over: who answered, and why, where that wasn't simply the upstream."""
        head = self._head
        assert head is not None
        self._answered = True
        rule = self._rule or NO_RULE
        if self._context.emit.wanted:
            self._tell(
                "request",
                method=head.method.decode("latin-1"),
                host=(head.host or b"").decode("latin-1"),
                path=head.target.decode("latin-1"),
                status=pages.wire_status(status),
                upstream=self._server,
                upstream_name=rule.upstream,
                duration_us=(perf_counter() - self._started) * 1e6,
                answered_by=answered_by,
                reason=reason,
                **rule.told(),
            )
