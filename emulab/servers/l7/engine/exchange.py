"""One request and its answer: the way to an upstream and the response's way back.

A machine: events are its methods, with the time as an argument; what it wants done is in its connection's `commands`.
It is made of layers, each of a module: `records` (what is told of it), `ending` (pages of our own), `trying` (the way
to an upstream), `erring` (another one, for the pages of errors), `answering` (the response), `admitting` (gates in its
way), and here the request.

Rules:

* Body bytes go on as they come. What has gone upstream is also kept while it is at most `KEEP_MAX`, so
  that the request can be sent again; beyond that it can't. A policy may have the body whole first, and
  then all of it is kept (nginx: `proxy_request_buffering`). It is held in memory alone, so of a body that is
  larger than the policy's buffer as much is gathered, and then it goes on as it comes.
* Who can't take more bytes stops the one who sends them: both sides pause the other's reading.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from emulab.errors import PeerError
from emulab.servers.l7.engine.admitting import Admitting
from emulab.servers.l7.engine.aside import MirrorTarget
from emulab.servers.l7.engine.balance import Group
from emulab.servers.l7.engine.balance.turn import Turn
from emulab.servers.l7.engine.commands import FORWARD, MIRROR, SEND
from emulab.servers.l7.engine.entry import UNKNOWN
from emulab.servers.l7.engine.filters.effect import Asked
from emulab.servers.l7.engine.routes import ReadyRoute
from emulab.servers.l7.engine.trying import KEEP_MAX
from emulab.servers.l7.messages.compose import CONTINUE
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.targets import normalise_host, normalise_path
from emulab.servers.wire.http1.framing import CHUNKED, LAST_CHUNK, UNFRAMED, chunk

if TYPE_CHECKING:
    from emulab.servers.l7.engine.clientside import ClientSide
    from emulab.servers.l7.engine.servers import HostRules
    from emulab.servers.l7.engine.ways import UpstreamWay
    from emulab.servers.l7.personalities.personality import Front, FrontReader


class Exchange(Admitting):
    """One request of a connection."""

    __slots__ = ("_buffer", "way")

    way: UpstreamWay | None  # how its servers are reached, if not by plain HTTP/1.1

    _buffer: bytearray | None  # what has come of a body that has to be whole first

    def __init__(self, client: ClientSide, head: RequestHead, now: float) -> None:
        self._client = client
        self._commands = client.commands
        self._around = client.around
        self._head = head
        self._started = now
        self._rule = self.way = None
        self._asked = None
        self._turn = None
        self._name = self._server = ""
        self._received = 0  # bytes of the request's body
        self._kept = self._pace = None
        self._linking = self.linked = self._asking = False
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
            return self.refuse(405, "method not allowed", now)
        snapshot = self._around.snapshot
        try:
            host = head.host if head.host is not None else personality.host
            if snapshot.host_rules is not None:
                if self._is_refused_by(snapshot.host_rules, host, now):
                    return None
                head = self._head
            rule = self._rule = snapshot.routes.match(host, head)
        except PeerError as error:
            return self.refuse(400, str(error), now)
        if rule is not None:
            client.policy = rule.policy
            if rule.ways is not None:
                self.way = rule.ways[client.scheme]
        forwarding, scheme, address = client.forwarding, client.scheme, client.address
        chain = b""
        if snapshot.front is not None:
            host_told, forwarding, scheme, address, chain = self._front(snapshot.front)
            host, head, client.shown = host_told or host, self._head, address
        if rule is not None and rule.straight is not None and head.framing == UNFRAMED and not head.expect:
            return self._ask(rule.straight, host, forwarding, now)
        return self._look_at(rule, host, forwarding, (scheme, address, chain), now)

    def _front(self, read: FrontReader) -> Front:
        """What the one in front says of the request. The field for that is passed on in the place of another one."""
        client, head = self._client, self._head
        known = client.front
        if known is None or known[0] is not read:
            known = read, read(head, client.ends)
            client.front = known if read.constant else None
        if (field := read.field(head)) != head.forwarded_for:
            head = self._head = head.own()
            head.forwarded_for = field
        return known[1]

    def _look_at(
        self,
        rule: ReadyRoute | None,
        host: bytes,
        forwarding: bytes,
        asking: tuple[str, str, bytes],
        now: float,
    ) -> None:
        """Decides what becomes of a request that not only its route is to be asked about; `asking`: the scheme, address
        and chain of who asks."""
        head, policy = self._head, self._client.policy
        scheme, address, chain = asking
        if head.framing > 0 and 0 < policy.body_max < head.framing:
            if rule is not None and rule.filtered:
                self._filtered_as(scheme, host, address, now)
            return self.fail_too_large(now)
        if rule is None:
            return self.fail(404, "no rule matches", now)
        if rule.filtered:
            asked = self._filtered_as(scheme, host, address, now)
            asked.forwarded_for = chain
            if (own := rule.answer(asked)) is not None:
                return self.answer_page(own, now)
            if rule.gated:
                self._wanted, self._buffer = (host, forwarding), bytearray()
                return self._stop_at(rule, asked, now)
        return self._go_in(host, forwarding, now)

    def _is_refused_by(self, servers: HostRules, host: bytes, now: float) -> bool:
        """Whether the host itself has the request not be, or another one in its place. Raises `PeerError` for one that
        is malformed."""
        client = self._client
        head = self._head = self._head.own()
        normalise_path(head.target)  # one that is malformed is nobody's
        page = servers.refuse(normalise_host(host), head, client.scheme, client.secured)
        if page is not None and page.instead:
            head.method, head.target = b"GET", page.instead
            return False
        if page is not None:
            self.answer_page(page._replace(plain=True), now)
        return page is not None

    def _go_in(self, host: bytes, forwarding: bytes, now: float) -> None:
        """On to the upstream, now or once the body is whole."""
        head, client, rule = self._head, self._client, self._rule
        assert rule is not None
        if (mirror := rule.mirror) is not None and not (self._has_body and mirror.body):
            self._mirror(mirror, None)
        group = self._by_turn(rule) if rule.by_turns else rule.pick()
        self._name = rule.upstream if group is None else group.name
        if group is None and not rule.route.backends:
            return self.fail(404, "no rule matches", now)
        if group is None or not group.servers:
            return self.fail(503, "no endpoints", now)
        if head.expect:  # whether there is a body or not, as nginx does
            self._commands.append((SEND, CONTINUE))
            head.expect = False  # no other request has such a head
        policy = client.policy
        if rule.gated and client.body is not None:
            client.deadline = now + policy.body_timeout
        if policy.request_buffer and (client.body is not None or (rule.gated and self._has_body)):
            self._begin_with(group, now)
            self._kept, self._kept_size = None, 0
            self._wanted = host, forwarding
            if rule.gated:
                self._released(client.body is None, now)
            else:
                self._buffer = bytearray()
            return None
        return self._ask(group, host, forwarding, now)

    def _ask(self, group: Group, host: bytes, forwarding: bytes, now: float) -> None:
        """On to an upstream, which has servers, with the head, and with what of the body has come."""
        self._begin_with(group, now)
        come = self._kept
        if come is None:
            self._kept, self._kept_size = [self._compose(host, forwarding)], 0
        else:  # while it waited at a gate
            self._kept = [self._compose(host, forwarding), *come]
        self._select(now)

    @property
    def _has_body(self) -> bool:
        return self._head.framing > 0 or self._head.framing == CHUNKED

    def _filtered_as(self, scheme: str, host: bytes, address: str, now: float) -> Asked:
        """What filters are told of the request, whose own state begins here."""
        client, head = self._client, self._head
        port = client.port if scheme == client.scheme else ""
        self._id = self._id or self._around.request_id()
        self._replaced, self._encoder = False, None
        asked = self._asked = Asked(
            scheme, host, port, head.target, head=head, address=address, now=now,
            listener=client.listener, request_id=self._id,
        )  # fmt: skip
        return asked

    def _by_turn(self, rule: ReadyRoute) -> Group | None:
        """Who gets the request: the canary of its route, maybe. What is to be known for that, and later, is kept."""
        assert self._asked is not None
        around, group = self._around, rule.pick()
        turn = Turn(self._asked, rule.route, around.draw, around.date)
        if rule.canary is not None and rule.canary.takes(turn, group):
            group = rule.canary.group
        if group is not None and not group.plain:
            self._group, self._turn = group, turn
        return group

    def _compose(self, host: bytes, forwarding: bytes) -> bytes:
        """The head of the request as the upstream gets it."""
        head, rule = self._head, self._rule
        request_id = self._id = self._id or self._around.request_id()
        known = head.written
        if known is None or known[1] != forwarding or known[0] != host:
            before, after = self._client.personality.request(head, host, forwarding)
            known = head.written = host, forwarding, before, after
        written = known[2] + request_id + known[3]
        if rule is None or rule.sends_as_written:
            return written
        if rule.old:
            written = written.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
        return (
            written
            if rule.filters is None or self._asked is None
            else rule.filters.request(written, self._asked)
        )

    def has_room(self, size: int, remaining: int) -> bool:
        """Whether the body may be as large as it is with `size` more bytes, and with those announced after them."""
        self._received += size
        limit = self._client.policy.body_max
        fits = not limit or self._received + remaining <= limit
        return fits or (self._asked is not None and self._replaced)

    def body(self, piece: bytes, last: bool, now: float) -> None:
        """A piece of the request's body came, which may be empty when it is the last."""
        if self._asked is not None and self._replaced:
            return  # who answers for an error has been asked without it
        if self._client.policy.request_buffer and self._buffer is not None:
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
        assert self._buffer is not None
        self._buffer += piece
        if not self._asking:
            self._released(last, now)

    def _released(self, last: bool, now: float) -> None:
        """Nothing but its body keeps the request back: all of it, if that is the last piece."""
        assert self._buffer is not None
        if not last and len(self._buffer) <= self._client.policy.request_buffer:
            return
        body, self._buffer = bytes(self._buffer), None
        if last:
            self._head.framing, self._head.written = self._received, None
            if self._rule is not None and (mirror := self._rule.mirror) is not None and mirror.body:
                self._mirror(mirror, body)
            self._kept = [self._compose(*self._wanted), body]
            self._begin_with(self._group, now)
            self._select(now)
            return
        # It is too large to be held: it goes on as it comes.
        self._kept_size = len(body)
        self._kept = [self._compose(*self._wanted), chunk(body) if self._head.framing == CHUNKED else body]
        self._begin_with(self._group, now)
        self._select(now)
        self._client.flow(now)

    def _mirror(self, mirror: MirrorTarget, body: bytes | None) -> None:
        if self._asked is not None and (mirrored := mirror.request(self._asked, body)) is not None:
            self._commands.append((MIRROR, mirrored))

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
        if self._asking:
            self._client.deadline = inf
        elif self._client.body is not None and not (self.linked and self._full):
            why = f"client sent no more of the body for {self._client.policy.body_timeout:g} s"
            self.fail(408, why, now)
        elif self.linked:
            self._unanswered(now)
        elif self._linking:  # a connection that is being opened has a deadline of the shell's
            self.fail(504, "it waited too long for a connection that is free", now)
