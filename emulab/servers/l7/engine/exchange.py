"""One request and its answer: the way to an upstream and the response's way back.

A machine: events are its methods, with the time as an argument; what it wants done is in its connection's `commands`.
It is made of layers, each of a module: `records` (what is told of it), `ending` (pages of our own), `trying` (the way
to an upstream), `answering` (the response), and here the request.

Rules:

* Body bytes go on as they come. What has gone upstream is also kept while it is at most `KEEP_MAX`, so
  that the request can be sent again; beyond that it can't. A policy may have the body whole first, and
  then all of it is kept (nginx: `proxy_request_buffering`, with memory alone to hold it).
* Who can't take more bytes stops the one who sends them: both sides pause the other's reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulab.errors import PeerError
from emulab.servers.l7.engine.answering import Answered
from emulab.servers.l7.engine.commands import FORWARD, SEND
from emulab.servers.l7.engine.entry import UNKNOWN
from emulab.servers.l7.engine.filters.effect import Asked
from emulab.servers.l7.engine.trying import KEEP_MAX
from emulab.servers.l7.messages.compose import CONTINUE
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.wire.http1.framing import CHUNKED, LAST_CHUNK, chunk

if TYPE_CHECKING:
    from emulab.servers.l7.engine.clientside import ClientSide
    from emulab.servers.l7.engine.ways import UpstreamWay


class Exchange(Answered):
    """One request of a connection."""

    __slots__ = ("_buffer", "_wanted", "way")

    way: UpstreamWay | None  # how its servers are reached, if not by plain HTTP/1.1

    # Set once it is known that the body has to be whole first.
    _buffer: bytearray  # what has come of it
    _wanted: tuple[bytes, bytes]  # host and forwarding lines of a request that waits for its body

    def __init__(self, client: ClientSide, head: RequestHead, now: float) -> None:
        self._client = client
        self._commands = client.commands
        self._around = client.around
        self._head = head
        self._started = now
        self._rule = self.way = None
        self._asked = None
        self._name = self._server = ""
        self._received = 0  # bytes of the request's body
        self._kept = None
        self._linking = self.linked = False
        self._head_sent = self.answered = False
        self._id = head.request_id
        self._sent = self._head_size = self._size = 0
        self._past = ()
        self._try_began = UNKNOWN

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
            if rule.ways is not None:
                self.way = rule.ways[client.scheme]
        policy = client.policy
        forwarding, scheme, address = client.forwarding, client.scheme, client.address
        if client.options.trust_forwarded:
            front = personality.trusted(head, address, client.port, scheme)
            host = front.host or host
            forwarding, scheme, address = front.forwarding, front.scheme, front.address
        if head.framing > 0 and 0 < policy.body_limit < head.framing:
            return self.fail_too_large(now)
        if rule is None:
            return self.fail(404, "no rule matches", now)
        if rule.filtered:
            port = client.port if scheme == client.scheme else ""
            asked = self._asked = Asked(scheme, host, port, head.target, head=head, address=address, now=now)
            if (own := rule.answer(asked)) is not None:
                return self.answer_page(own, now)
        group = rule.pick()
        self._name = rule.upstream if group is None else group.name
        if group is None and not rule.route.backends:
            return self.fail(404, "no rule matches", now)
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
            self._select(now)
        return None

    def _compose(self, host: bytes, forwarding: bytes) -> bytes:
        """The head of the request as the upstream gets it."""
        self._id = self._id or self._around.request_id()
        written = self._client.personality.request(self._head, host, forwarding, self._id)
        rule = self._rule
        if rule is not None and rule.old:
            written = written.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
        filters = rule.filters if rule is not None else None
        return written if filters is None or self._asked is None else filters.request(written, self._asked)

    def has_room(self, size: int, remaining: int) -> bool:
        """Whether the body may be as large as it is with `size` more bytes, and with those announced after them."""
        self._received += size
        limit = self._client.policy.body_limit
        return not limit or self._received + remaining <= limit

    def body(self, piece: bytes, last: bool, now: float) -> None:
        """A piece of the request's body came, which may be empty when it is the last."""
        if self._client.policy.request_buffer:
            self._hold_back(piece, last, now)
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

    def _hold_back(self, piece: bytes, last: bool, now: float) -> None:
        """Keeps a piece of the body; once all of it is there an upstream is asked, which is told the length."""
        self._buffer += piece
        if last:
            self._head.framing = self._received
            self._kept = [self._compose(*self._wanted), bytes(self._buffer)]
            self._buffer.clear()
            self._select(now)

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
