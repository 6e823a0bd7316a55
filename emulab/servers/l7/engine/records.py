"""What is told of a request: tries, what went wrong, the end. The docstring of `servers.l7` describes the records."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from emulab.servers.accesslog import OWN, escaped
from emulab.servers.l7.engine.balance import Group
from emulab.servers.l7.engine.balance.turn import Turn
from emulab.servers.l7.engine.commands import LOG, WAKE, Command
from emulab.servers.l7.engine.entry import UNKNOWN, Measured, RequestEntry, Try
from emulab.servers.l7.engine.filters.basic import credentials
from emulab.servers.l7.engine.filters.effect import Asked, Page
from emulab.servers.l7.engine.routes import NO_ROUTE, ReadyRoute
from emulab.servers.l7.engine.surroundings import EngineSurroundings
from emulab.servers.l7.messages.request import RequestHead

if TYPE_CHECKING:
    from emulab.servers.l7.engine.clientside import ClientSide


class Recorded:
    """An exchange, as records have it."""

    __slots__ = (
        "_around",
        "_asked",
        "_attempt",
        "_client",
        "_commands",
        "_group",
        "_head",
        "_head_sent",
        "_head_size",
        "_id",
        "_linking",
        "_name",
        "_past",
        "_received",
        "_reused",
        "_rule",
        "_sent",
        "_server",
        "_size",
        "_source",
        "_started",
        "_try_began",
        "_try_connected",
        "_try_headed",
        "_turn",
        "answered",
        "linked",
    )  # fmt: skip

    _around: EngineSurroundings
    _asked: Asked | None  # what filters are told of the request, where it has any
    _attempt: int  # number of the present try, stale connections included
    _client: ClientSide
    _commands: list[Command]
    _group: Group
    _head: RequestHead
    _head_sent: bool  # whether the answer has begun
    _head_size: int  # bytes of the answer's head
    _id: bytes  # the request's, for upstreams and logs
    _linking: bool  # whether an upstream will have the request
    _name: str  # the upstream's
    _past: tuple[Try, ...]  # the tries that failed
    _received: int  # bytes of the request's body
    _reused: bool  # whether the connection had served another request
    _rule: ReadyRoute | None
    _sent: int  # bytes of the answer that have gone to the client
    _server: str  # the upstream's address
    _size: int  # bytes of the upstream's answer's body
    _source: str  # our end of the upstream's connection
    _started: float
    _try_began: float
    _try_connected: float
    _try_headed: float
    _turn: Turn | None  # what the upstream's balancer knows of the request, where that isn't plain
    answered: bool  # whether the answer is over, and told
    linked: bool  # whether an upstream has the request

    def _record(
        self, status: int, now: float, answered_by: str = "upstream", reason: str = "", refused_by: str = ""
    ) -> None:
        """Tells of a request that is over: who answered, and why, where that wasn't simply the upstream. `status` is as
        it went over the wire."""
        self.answered = True
        if self._turn is not None:
            self._leave(now)
        if self._asked is not None:
            self._asked.over()
        around, log = self._around, self._around.log
        measure, unlogged = around.measure, around.snapshot.unlogged
        logs = False
        head, rule = self._head, self._rule
        hushed = (
            unlogged is not None and head.target.decode("latin-1") in unlogged
        ) or around.snapshot.hushes(rule, head.host or b"", status)
        if self._client.policy.access_log and not hushed:
            if log.room:
                logs = log.takes(OWN)
            else:
                log.missed[OWN] += 1
        if not self._id and (logs or around.audience.wanted):
            self._id = around.request_id()  # no upstream was told one
        if measure is not None:
            measure(self._measured(status, now))
        if logs:
            line = partial(around.snapshot.log_line, self._entry(status, now), around.unix_time())
            self._commands.append((LOG, line))
        if not around.audience.wanted:
            return
        client, head, rule = self._client, self._head, self._rule or NO_ROUTE
        client.tell(
            "request",
            method=head.method.decode("latin-1"),
            host=(head.host or b"").decode("latin-1"),
            path=head.target.decode("latin-1"),
            version="1.0" if head.old else head.version,
            status=status,
            duration_us=(now - self._started) * 1e6,
            **rule.told,
            upstream=self._server,
            upstream_name=self._name or rule.upstream,
            answered_by=answered_by,
            reason=reason,
            request_id=self._id.decode("latin-1"),
            **({"refused_by": refused_by} if refused_by else {}),
            **({"address": client.shown} if client.shown != client.address else {}),
        )

    def _measured(self, status: int, now: float) -> Measured:
        """What is counted of the request: what `measured` makes of its entry, which isn't made for each."""
        head, past, began = self._head, self._past, self._try_began
        if began != UNKNOWN and (self._head_sent or self.linked or self._linking):
            connected, headed = self._try_connected, self._try_headed
            connect = 0.0 if self._reused else connected - began if connected != UNKNOWN else UNKNOWN
            header, over = headed - began if headed != UNKNOWN else UNKNOWN, now - began
        elif past:
            _, _, connect, header, over, _ = past[-1]
        else:
            connect = header = over = UNKNOWN
        return (
            head,
            self._rule or NO_ROUTE,
            status,
            self._name,
            connect,
            header,
            over,
            now - self._started,
            head.size + self._received,
            self._sent,
        )

    def _leave(self, now: float) -> None:
        """The upstream has no more to do with the request."""
        turn, group, self._turn = self._turn, self._group, None
        if turn is None:
            return
        group.through(turn, now, False)
        if turn.waiting is not None:
            group.give_up(turn, turn.waiting)
        if (wake := group.leave(turn)) is not None:
            self._commands.append((WAKE, wake))

    def _entry(self, status: int, now: float) -> RequestEntry:
        """What is known of the request, now that it is over."""
        client, head, past = self._client, self._head, self._past
        if self._try_began != UNKNOWN and (self._head_sent or self.linked or self._linking):
            past = (*past, self._this_try(status, now))
        return RequestEntry(
            client=(client.shown, client.name),
            local=client.local,
            scheme=client.scheme,
            version="HTTP/1.0" if head.old else f"HTTP/{head.version}",
            head=head,
            rule=self._rule or NO_ROUTE,
            upstream_name=self._name,
            request_id=self._id.decode("latin-1"),
            status=status,
            request_size=head.size + self._received,
            sent=self._sent,
            body_sent=self._sent - self._head_size,
            seconds=now - self._started,
            tries=past,
            user=self._user,
        )

    def _this_try(self, status: int, now: float) -> Try:
        began, connected, headed = self._try_began, self._try_connected, self._try_headed
        return Try(
            self._server,
            status,
            0.0 if self._reused else connected - began if connected != UNKNOWN else UNKNOWN,
            headed - began if headed != UNKNOWN else UNKNOWN,
            now - began,
            self._size,
        )

    def _log_refusal(self, page: Page) -> None:
        """A line as of nginx's error log, in words that operators know: why somebody may not in."""
        around, head = self._around, self._head
        if not around.log.takes(OWN):
            return
        when = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(around.unix_time()))
        host, version = (head.host or b"").decode("latin-1"), "1.0" if head.old else "1.1"
        asked = escaped(f"{head.method.decode('latin-1')} {head.target.decode('latin-1')} HTTP/{version}")
        told = f'client: {self._client.shown}, server: {host}, request: "{asked}", host: "{host}"'
        self._commands.append((LOG, f"{when} [error] {page.why}, {told}"))

    @property
    def _user(self) -> str:
        """Who says it is the one who asks, where somebody wanted to know."""
        if self._asked is None:
            return ""
        given = credentials(self._head.field(b"authorization"))
        return given[0].encode("utf-8", "replace").decode() if given is not None else ""

    def _tell_try(self, event: str, **fields: Any) -> None:
        told = {"upstream_source": self._source, "upstream": self._server, "upstream_name": self._name}
        self._client.tell(event, **told, attempt=self._attempt, **fields, **(self._rule or NO_ROUTE).told)

    def _tell_error(self, why: str, then: str) -> None:
        """Tells of a try that failed; without a connection when it never came to one."""
        if self._around.audience.wanted:
            self._tell_try("upstream-error", reason=why, next=then)
