"""A request's way to an upstream and the response's way back.

Rules:

* Body bytes go on as they come. What has gone upstream is also kept while it is at most `KEEP_MAX`, so
  that the request can be sent again; beyond that it can't.
* A try that fails before a byte of the response came is made again as nginx does it
  (`proxy_next_upstream error timeout`, 3 tries, which is ingress-nginx's default): on the next server,
  unless the method isn't idempotent and the request had been sent. A kept connection that turns out to
  be closed costs no try.
* Once the response's head is out, a failure can only end the connection.
* Who can't take more bytes stops the one who sends them: both sides pause the other's reading.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

from emulab.errors import PeerError
from emulab.servers.l7.client import KEEP_MAX, WAIT, ClientConnection
from emulab.servers.l7.compose import (
    CONTINUE,
    client_response,
    switching_response,
    trusted_forwarding,
    upstream_request,
)
from emulab.servers.l7.config import Group
from emulab.servers.l7.context import Context
from emulab.servers.l7.request import RequestHead
from emulab.servers.l7.routes import NO_RULE, without_port
from emulab.servers.l7.tunnel import Tunnel
from emulab.servers.l7.upstream import Upstream
from emulab.servers.wire.framing import CHUNKED, LAST_CHUNK, chunk

TRIES = 3

_NOT_IDEMPOTENT = frozenset({b"POST", b"LOCK", b"PATCH"})  # as nginx counts
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})


class Downstream(ClientConnection):
    """A client's connection, whole."""

    __slots__ = ("_attempt", "_chunked", "_connecting", "_freshened", "_group", "_status", "_tries")

    def __init__(self, context: Context, tls: bool) -> None:
        super().__init__(context, tls)
        self._attempt = 0  # number of the present try, stale connections included
        self._connecting: asyncio.Task[None] | None = None
        self._group = Group("", ())
        self._chunked = False  # whether the response goes out in chunks
        self._freshened = False  # whether a closed idle connection was replaced already
        self._status = 0  # the response's
        self._tries = TRIES

    def _admit(self, head: RequestHead) -> None:
        """Decides what becomes of the request: an answer of our own, or the way to an upstream."""
        snapshot, options = self._context.snapshot, self._options
        if head.method in _REFUSED_METHODS:
            return self._fail(405, "method not allowed")
        try:
            # nginx's name for its default server stands in for a Host that HTTP/1.0 needn't send.
            host = head.host if head.host is not None else b"_"
            rule = self._rule = snapshot.routes.match(host, head.target)
        except PeerError as error:
            return self._fail(400, str(error))
        forwarding, scheme = self._forwarding, self._scheme
        if options.trust_forwarded:
            host = head.forwarded_host.split(b",")[0].strip() or host
            forwarding, scheme = trusted_forwarding(head, self.address, self._port, self._scheme)
        if options.client_max_body and head.framing > options.client_max_body:
            return self._fail(413, f"request body is larger than {options.client_max_body} bytes")
        if rule is None:
            return self._fail(404, "no rule matches")
        if rule.ssl_redirect and scheme == "http":
            location = b"https://%b%b" % (without_port(host), head.target)
            return self._fail(308, "the rule redirects to https", location)
        group = snapshot.groups.get(rule.upstream)
        if group is None or not group.servers:
            return self._fail(503, "no endpoints")
        if head.expect:  # whether there is a body or not, as nginx does
            self.transport.write(CONTINUE)
            head.expect = False
        out = upstream_request(head, host, forwarding, self._context.request_id())
        self._kept, self._kept_size = [out], 0
        self._freshened, self._tries, self._attempt = False, TRIES, 0
        self._connect(group)
        return None

    def _pass_body(self, piece: bytes, last: bool) -> None:
        head = self._head
        if head is not None and head.framing == CHUNKED:
            piece = (chunk(piece) if piece else b"") + (LAST_CHUNK if last else b"")
        if not piece:
            return
        if self._kept is not None:
            self._kept.append(piece)
            self._kept_size += len(piece)
        if self._upstream is not None:
            self._upstream.transport.write(piece)
            if self._kept_size > KEEP_MAX:
                self._kept = None
        elif self._kept_size > KEEP_MAX:
            self._flow()

    def _connect(self, group: Group) -> None:
        self._group = group
        self._attempt += 1
        address = group.pick()
        upstream = self._context.pool.take(address)
        if upstream is not None:
            self._send(upstream)
        else:
            self._open(address)

    def _open(self, address: str) -> None:
        self._server = address
        if self._context.emit.wanted:
            self._tell_try("proxy-try", None)
        self._connecting = self._context.pool.open(address, self)
        if self._state == WAIT:
            self.deadline = inf  # the pool watches the time that connecting takes
        elif not self._reading:
            self._flow()

    def connected(self, upstream: Upstream) -> None:
        self._connecting = None
        self._send(upstream)

    def connect_failed(self, why: str, timed_out: bool) -> None:
        self._connecting = None
        self._try_failed(504 if timed_out else 502, why, untouched=True, sent=False)

    def _send(self, upstream: Upstream) -> None:
        head, kept, context = self._head, self._kept, self._context
        assert head is not None and kept is not None
        self._upstream = upstream
        self._server = upstream.address
        context.counters.connects += 1
        if upstream.reused:
            context.counters.reused += 1
        upstream.send(self, kept[0] if len(kept) == 1 else b"".join(kept), head.method == b"HEAD")
        if self._kept_size > KEEP_MAX:
            self._kept = None
        seconds = self._options.read_timeout if self._body is None else self._options.body_timeout
        self.deadline = context.clock() + seconds
        if not self._reading:
            self._flow()
        if context.emit.wanted:
            self._tell_try("proxy-connect", upstream, reused=upstream.reused)

    def _tell_try(self, event: str, upstream: Upstream | None, **fields: Any) -> None:
        self._tell(
            event,
            upstream_source=upstream.source if upstream is not None else "",
            upstream=self._server,
            upstream_name=self._group.name,
            attempt=self._attempt,
            **fields,
            **(self._rule or NO_RULE).told(),
        )

    def upstream_flow(self) -> None:
        """The upstream takes no more bytes, or takes them again."""
        self._flow()

    def upstream_lost(self, upstream: Upstream, why: str, retry: bool) -> None:
        """The upstream's connection ended, or broke the rules, before the response was whole."""
        self._try_failed(502, why, untouched=retry)

    def _try_failed(self, status: int, why: str, *, untouched: bool, sent: bool = True) -> None:
        upstream, self._upstream = self._upstream, None
        head = self._head
        if head is None or self._answered:
            return
        if self._head_sent:
            self._tell_error(upstream, why, "the answer stays cut")
            self._end_short(why)
            return
        repeatable = self._kept is not None and untouched
        if sent and head.method in _NOT_IDEMPOTENT:
            repeatable = False
        stale = status == 502 and upstream is not None and upstream.reused and not self._freshened
        if repeatable and stale and upstream is not None:
            self._tell_error(upstream, why, "a new connection")
            self._freshened = True
            self._attempt += 1
            self._context.counters.retries += 1
            self._open(upstream.address)
        elif repeatable and self._tries > 1:
            self._tell_error(upstream, why, "another try")
            self._tries -= 1
            self._context.counters.retries += 1
            self._connect(self._group)
        else:
            self._tell_error(upstream, why, f"answers {status}")
            self._fail(status, why)

    def _tell_error(self, upstream: Upstream | None, why: str, then: str) -> None:
        """Tells of a try that failed; without a connection when it never came to one."""
        if self._context.emit.wanted:
            self._tell_try("upstream-error", upstream, reason=why, next=then)

    def response_progress(self, upstream: Upstream) -> None:
        """More of the response is there."""
        reader, head = upstream.reader, self._head
        assert head is not None
        if reader.tunnel is not None:
            self._switch(upstream)
            return
        if not reader.head_done:
            return
        out, reader.pieces = reader.pieces, []
        if self._head_sent:
            if self._chunked:
                out = [chunk(piece) for piece in out]
        else:
            line, self._chunked, self._keep = client_response(
                reader,
                date=self._context.date(),
                extra=self._extra,
                old=head.old,
                keep=self._keep,
            )
            self._head_sent = True
            self._status = reader.status
            out = [line, *map(chunk, out)] if self._chunked else [line, *out]
        if reader.complete:
            if self._chunked:
                out.append(LAST_CHUNK)
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            self._complete(upstream)
        elif out:
            self.deadline = self._context.clock() + self._options.read_timeout
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _complete(self, upstream: Upstream) -> None:
        """The response is whole and out."""
        self._upstream = None
        upstream.owner = None
        self._record(self._status)
        if upstream.reader.reusable and self._body is None and not upstream.write_paused:
            if self._write_paused:
                upstream.transport.resume_reading()
            self._context.pool.release(upstream)
        else:
            upstream.drop()
        if self._body is not None:
            self._linger()  # the upstream answered early; the rest of the body has no taker
        else:
            self._finish()

    def _switch(self, upstream: Upstream) -> None:
        """The upstream agreed to another protocol."""
        head, reader = self._head, upstream.reader
        assert head is not None and reader.tunnel is not None
        if not head.upgrades or self._body is not None:
            upstream.drop()
            why = "upstream changed the protocol, which was not asked for"
            self._try_failed(502, why, untouched=False)
            return
        context = self._context
        self._upstream = upstream.owner = None
        self._record(101)
        context.counters.upgrades += 1
        context.clients.discard(self)
        self.transport.write(switching_response(reader, context.date()) + reader.tunnel)
        if self._held:
            upstream.transport.write(self._held)
            self._held = b""
        Tunnel(
            context,
            self.transport,
            upstream.transport,
            self._options.read_timeout,
            lambda: context.pool.forget(upstream),
        )
        if not self._reading:
            self.transport.resume_reading()
        if self._write_paused:
            upstream.transport.resume_reading()

    def _end_short(self, why: str) -> None:
        """Ends a response that can't be completed: the closed connection is what tells the client."""
        self._record(self._status, "upstream", why)
        self.transport.close()

    def _detach(self) -> None:
        """Lets go of the upstream, or of the way to it."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.drop()
        self._kept = None
