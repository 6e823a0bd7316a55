"""One request and its answer: the way to an upstream and the response's way back.

A machine: events are its methods, with the time as an argument; what it wants done is in its connection's `commands`.

Rules:

* Body bytes go on as they come. What has gone upstream is also kept while it is at most `KEEP_MAX`, so
  that the request can be sent again; beyond that it can't. A policy may have the body whole first, and
  then all of it is kept (nginx: `proxy_request_buffering`, with memory alone to hold it).
* A try that fails before a byte of the response came is made again as nginx does it
  (`proxy_next_upstream error timeout`) while the policy has tries left: on the next server, unless the method
  isn't idempotent and the request had been sent. A kept connection that turns out to be closed costs no try.
* Once the response's head is out, a failure can only end the connection.
* Who can't take more bytes stops the one who sends them: both sides pause the other's reading.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from emulab.errors import PeerError
from emulab.servers.accesslog import OWN
from emulab.servers.l7.engine.balance import Group
from emulab.servers.l7.engine.commands import DRAIN, DROP, FORWARD, OPEN, READ, RELEASE, SELECT, SEND, TUNNEL
from emulab.servers.l7.engine.filters import Asked
from emulab.servers.l7.engine.records import Recorded
from emulab.servers.l7.messages.compose import CONTINUE, client_response, switching_response
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.response import UpstreamResponse
from emulab.servers.wire.http1.framing import CHUNKED, LAST_CHUNK, chunk

if TYPE_CHECKING:
    from emulab.servers.l7.engine.connection import ConnectionMachine

KEEP_MAX = 65536
"""Bytes of a request that are kept for another try."""


class Exchange(Recorded):
    """One request of a connection."""

    __slots__ = (
        "_buffer", "_chunked", "_commands", "_freshened", "_full", "_group", "_head_sent", "_kept", "_kept_size",
        "_linking", "_reader", "_received", "_reused", "_touched", "_tries", "_wanted", "linked",
    )  # fmt: skip

    # Set once there is an upstream, or a response, to speak of.
    _buffer: bytearray  # what has come of a body that has to be whole first
    _chunked: bool  # whether the response goes out in chunks
    _freshened: bool  # whether a closed idle connection was replaced already
    _full: bool  # whether the upstream takes no more bytes
    _group: Group
    _kept_size: int
    _reader: UpstreamResponse
    _reused: bool
    _touched: bool  # whether a byte of the response has come
    _tries: int
    _wanted: tuple[bytes, bytes]  # host and forwarding lines of a request that waits for its body

    def __init__(self, client: ConnectionMachine, head: RequestHead, now: float) -> None:
        self._client = client
        self._commands = client.commands
        self._around = client.around
        self._head = head
        self._started = now
        self._rule = None
        self._name = self._server = ""
        self._received = 0  # bytes of the request's body
        self._kept: list[bytes] | None = None  # what was or will be sent upstream, for another try
        self._linking = self.linked = False  # whether an upstream will have, or has, the request
        self._head_sent = self.answered = False  # whether the answer has begun; whether it is over

    # --- the request ----------------------------------------------------------------------------------------------

    def admit(self, now: float) -> None:
        """Decides what becomes of the request: an answer of our own, or the way to an upstream."""
        head, client = self._head, self._client
        personality = client.personality
        if head.method in personality.refused_methods:
            return self.fail(405, "method not allowed", now)
        try:
            host = head.host if head.host is not None else personality.host
            rule = self._rule = self._around.snapshot.routes.match(host, head)
        except PeerError as error:
            return self.fail(400, str(error), now)
        if rule is not None:
            client.policy = rule.policy
        policy = client.policy
        forwarding, scheme = client.forwarding, client.scheme
        if client.options.trust_forwarded:
            named, forwarding, scheme = personality.trusted(head, client.address, client.port, scheme)
            host = named or host
        if head.framing > 0 and 0 < policy.body_limit < head.framing:
            return self.fail_too_large(now)
        if rule is None:
            return self.fail(404, "no rule matches", now)
        if rule.answers:
            asked = Asked(scheme, host, client.port if scheme == client.scheme else "", head.target)
            if (own := rule.answer(asked)) is not None:
                return self.fail(own.status, own.why, now, own.location)
        group = rule.pick()
        self._name = rule.upstream if group is None else group.name
        if group is None or not group.servers:
            return self.fail(503, "no endpoints", now)
        if head.expect:  # whether there is a body or not, as nginx does
            self._commands.append((SEND, CONTINUE))
            head.expect = False
        self._group = group
        self._tries, self._attempt, self._freshened = policy.tries, 1, False
        self._kept_size = 0
        if policy.request_buffer and client.body is not None:
            self._buffer, self._wanted = bytearray(), (host, forwarding)
        else:
            self._kept = [self._compose(host, forwarding)]
            self._select()
        return None

    def _compose(self, host: bytes, forwarding: bytes) -> bytes:
        """The head of the request as the upstream gets it."""
        written = self._client.personality.request(self._head, host, forwarding, self._around.request_id())
        filters = self._rule.filters if self._rule is not None else None
        return written if filters is None else filters.request(written)

    def has_room(self, size: int, remaining: int) -> bool:
        """Whether the body may be as large as it is with `size` more bytes, and with those announced after them."""
        self._received += size
        limit = self._client.policy.body_limit
        return not limit or self._received + remaining <= limit

    def body(self, piece: bytes, last: bool, now: float) -> None:
        """A piece of the request's body came, which may be empty when it is the last."""
        if self._client.policy.request_buffer:
            self._hold_back(piece, last)
            return
        if self._head.framing == CHUNKED:
            piece = (chunk(piece) if piece else b"") + (LAST_CHUNK if last else b"")
        if not piece:
            return
        if self._kept is not None:
            self._kept.append(piece)
            self._kept_size += len(piece)
        if self.linked:
            self._commands.append((FORWARD, piece))
            if self._kept_size > KEEP_MAX:
                self._kept = None
        elif self._kept_size > KEEP_MAX:
            self._client.flow(now)

    def _hold_back(self, piece: bytes, last: bool) -> None:
        """Keeps a piece of the body; once all of it is there an upstream is asked, which is told the length."""
        self._buffer += piece
        if last:
            self._head.framing = self._received
            self._kept = [self._compose(*self._wanted), bytes(self._buffer)]
            self._buffer.clear()
            self._select()

    @property
    def takes_body(self) -> bool:
        """Whether there is a place for more of the body."""
        if self.linked:
            return not self._full
        return self._kept is None or self._kept_size <= KEEP_MAX

    def client_left(self, now: float) -> None:
        """The client has closed the connection."""
        if not self.answered:
            self._record(self._client.personality.client_closed, now, "", "client closed the connection")
        self._let_go()

    def expired(self, now: float) -> None:
        """Nothing has come for too long from the one whose turn it is."""
        if self._client.body is not None and not (self.linked and self._full):
            why = f"client sent no more of the body for {self._client.policy.body_timeout:g} s"
            self.fail(408, why, now)
        elif self.linked:
            self._let_go()
            why = f"upstream timed out: no answer within {self._client.policy.read_timeout:g} s"
            self._try_failed(504, why, now, untouched=not self._touched)

    # --- the way to an upstream -------------------------------------------------------------------------------------

    def _select(self) -> None:
        self._linking = True
        self._server = server = self._group.pick()
        self._commands.append((SELECT, server))

    def vacant(self, now: float) -> None:
        """No connection to the server is kept."""
        if self._linking:
            self._open(now)

    def _open(self, now: float) -> None:
        client = self._client
        self._linking, self._source, self._reused = True, "", False
        if self._around.audience.wanted:
            self._tell_try("proxy-try")
        self._commands.append((OPEN, (self._server, self._client.policy.connect_timeout)))
        if client.waits:
            client.deadline = inf  # the shell watches the time that connecting takes
        elif not client.reading:
            client.flow(now)

    def connected(self, reader: UpstreamResponse, source: str, reused: bool, now: float) -> bytes:
        """An upstream's connection is there, whose responses `reader` reads; `source` is our end of it.

        What is returned goes to the upstream, before any command is carried out.
        """
        client, kept = self._client, self._kept
        if not self._linking or kept is None:
            return b""  # let go of meanwhile, and the command for that is on its way
        self._linking, self.linked = False, True
        self._source, self._reused = source, reused
        self._touched = self._full = False
        counters = self._around.counters
        counters.connects += 1
        if reused:
            counters.reused += 1
        self._reader = reader
        reader.begin(self._head.method == b"HEAD", client.personality.response_fields)
        if self._kept_size > KEEP_MAX:
            self._kept = None
        policy = client.policy
        client.deadline = now + (policy.read_timeout if client.body is None else policy.body_timeout)
        if not client.reading:
            client.flow(now)
        if self._around.audience.wanted:
            self._tell_try("proxy-connect", reused=reused)
        return kept[0] if len(kept) == 1 else b"".join(kept)

    def refused(self, why: str, timed_out: bool, now: float) -> None:
        """There is no connection to be had."""
        if self._linking:
            self._linking = False
            self._try_failed(504 if timed_out else 502, why, now, untouched=True, sent=False)

    def upstream_filled(self, full: bool, now: float) -> None:
        """The upstream takes no more bytes, or takes them again."""
        self._full = full
        self._client.flow(now)

    def upstream_ended(self, reset: bool, now: float) -> None:
        """The upstream's connection has ended, in good order or not."""
        self.linked = False
        if not reset and self._reader.eof():
            self._commands.append((SEND, self._pass_on(now)))
            return
        how = "reset" if reset else "ended"
        when = "in its answer" if self._touched else "before it answered"
        why = f"upstream {how} the connection {when}"
        self._try_failed(502, why, now, untouched=not self._touched)

    def _try_failed(self, status: int, why: str, now: float, *, untouched: bool, sent: bool = True) -> None:
        if self.answered:
            return
        if self._head_sent:
            self._tell_error(why, "the answer stays cut")
            self._end_short(why, now)
            return
        repeatable = self._kept is not None and untouched
        if sent and self._head.method in self._client.personality.not_idempotent:
            repeatable = False
        if repeatable and status == 502 and self._reused and not self._freshened:
            self._tell_error(why, "a new connection")
            self._freshened = True
            self._attempt += 1
            self._around.counters.retries += 1
            self._open(now)
        elif repeatable and self._tries > 1:
            self._tell_error(why, "another try")
            self._tries -= 1
            self._attempt += 1
            self._around.counters.retries += 1
            self._select()
        else:
            self._tell_error(why, f"answers {status}")
            self.fail(status, why, now)

    def _let_go(self) -> None:
        """Lets go of the upstream, or of the way to it."""
        if self.linked or self._linking:
            self.linked = self._linking = False
            self._commands.append((DROP, None))

    def drain(self, reading: bool) -> None:
        """Whether the client has room for the response."""
        if self.linked:
            self._commands.append((DRAIN, reading))

    # --- the response -----------------------------------------------------------------------------------------------

    def answer(self, data: bytes, now: float) -> bytes:
        """The upstream sent something. What is returned goes to the client, before any command is carried out."""
        self._touched = True
        reader = self._reader
        try:
            reader.feed(data, self._client.policy.response_head_max)
        except PeerError as error:
            self._let_go()
            why = f"upstream's answer is malformed: {error}"
            self._try_failed(502, why, now, untouched=False)
            return b""
        if not reader.head_done:
            return b""
        return self._switch(now) if reader.tunnel is not None else self._pass_on(now)

    def _pass_on(self, now: float) -> bytes:
        """What has come of the response, as it goes to the client."""
        reader, client = self._reader, self._client
        out, reader.pieces = reader.pieces, []
        if self._head_sent:
            if self._chunked:
                out = [chunk(piece) for piece in out]
        else:
            date, extra = self._around.date(), client.extra
            if self._rule is not None and (filters := self._rule.filters) is not None:
                reader.lines = filters.response([date, *reader.lines, *extra.splitlines(keepends=True)])
                date = extra = b""
            line, self._chunked, client.keep = client_response(
                reader, date=date, extra=extra, old=self._head.old, keep=client.keep
            )
            self._head_sent = True
            out = [line, *map(chunk, out)] if self._chunked else [line, *out]
        if reader.complete:
            if self._chunked:
                out.append(LAST_CHUNK)
            self._complete(now)
        elif out:
            client.deadline = now + client.policy.read_timeout
        return out[0] if len(out) == 1 else b"".join(out)

    def _complete(self, now: float) -> None:
        """The response is whole and out."""
        client, reader = self._client, self._reader
        self.answered = True
        around = self._around
        if around.audience.wanted or around.log.room:
            self._record(reader.status, now)
        else:
            around.log.missed[OWN] += 1
        if self.linked and reader.reusable and client.body is None and not self._full:
            self.linked = False
            if client.stalled:
                self._commands.append((DRAIN, True))
            self._commands.append((RELEASE, now))
        else:
            self._let_go()
        if client.body is not None:
            client.linger(now)  # the upstream answered early; the rest of the body has no taker
        else:
            client.finish(now)

    def _switch(self, now: float) -> bytes:
        """The upstream agreed to another protocol."""
        client, reader = self._client, self._reader
        assert reader.tunnel is not None
        if not self._head.upgrades or client.body is not None:
            self._let_go()
            why = "upstream changed the protocol, which was not asked for"
            self._try_failed(502, why, now, untouched=False)
            return b""
        self._record(101, now)
        self._around.counters.upgrades += 1
        if held := client.change_protocol():
            self._commands.append((FORWARD, held))
        self._commands.append((TUNNEL, self._client.policy.read_timeout))
        if not client.reading:
            self._commands.append((READ, True))
        if client.stalled:
            self._commands.append((DRAIN, True))
        date = self._around.date()
        if self._rule is not None and (filters := self._rule.filters) is not None:
            reader.lines, date = filters.response([date, *reader.lines]), b""
        return switching_response(reader, date) + reader.tunnel

    def _end_short(self, why: str, now: float) -> None:
        """Ends a response that can't be completed: the closed connection is what tells the client."""
        self._record(self._reader.status, now, "upstream", why)
        self._client.close()

    # --- answers of our own -----------------------------------------------------------------------------------------

    def fail(self, status: int, why: str, now: float, location: bytes = b"") -> None:
        """Answers with a page of our own, if there is still a place for it; `why` is for records."""
        self._let_go()
        client, head = self._client, self._head
        if self.answered or client.closed:
            return
        if self._head_sent:
            self._end_short(why, now)
            return
        close = client.send_page(status, head, location)
        self._around.counters.errors += 1
        self._record(status, now, "ingress", why)
        client.go_on(status, close, now)

    def fail_too_large(self, now: float) -> None:
        """The request's body is larger than it may be."""
        self.fail(413, f"request body is larger than {self._client.policy.body_limit} bytes", now)
