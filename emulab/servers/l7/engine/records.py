"""What is told of a request: tries, what went wrong, the end. The docstring of `servers.l7` describes the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulab.servers.accesslog import OWN
from emulab.servers.l7.engine.commands import LOG, Command
from emulab.servers.l7.engine.entry import UNKNOWN, Measured, RequestEntry, Try
from emulab.servers.l7.engine.routes import NO_ROUTE, ReadyRoute
from emulab.servers.l7.engine.surroundings import EngineSurroundings
from emulab.servers.l7.messages.request import RequestHead

if TYPE_CHECKING:
    from emulab.servers.l7.engine.clientside import ClientSide


class Recorded:
    """An exchange, as records have it."""

    __slots__ = (
        "_around",
        "_attempt",
        "_client",
        "_commands",
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
        "answered",
        "linked",
    )  # fmt: skip

    _around: EngineSurroundings
    _attempt: int  # number of the present try, stale connections included
    _client: ClientSide
    _commands: list[Command]
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
    answered: bool  # whether the answer is over, and told
    linked: bool  # whether an upstream has the request

    def _record(self, status: int, now: float, answered_by: str = "upstream", reason: str = "") -> None:
        """Tells of a request that is over: who answered, and why, where that wasn't simply the upstream."""
        self.answered = True
        around = self._around
        measure, logs = around.measure, around.log.takes(OWN)
        if not self._id and (logs or around.audience.wanted):
            self._id = around.request_id()  # no upstream was told one
        if measure is not None:
            measure(self._measured(status, now))
        if logs:
            line = around.snapshot.log_line(self._entry(status, now), around.unix_time())
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
            status=client.personality.wire_status(status),
            duration_us=(now - self._started) * 1e6,
            **rule.told,
            upstream=self._server,
            upstream_name=self._name or rule.upstream,
            answered_by=answered_by,
            reason=reason,
            request_id=self._id.decode("latin-1"),
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
            self._rule or NO_ROUTE,
            head.host,
            head.method,
            self._client.personality.wire_status(status),
            self._name,
            connect,
            header,
            over,
            now - self._started,
            head.size + self._received,
            self._sent,
        )

    def _entry(self, status: int, now: float) -> RequestEntry:
        """What is known of the request, now that it is over."""
        client, head, past = self._client, self._head, self._past
        status = client.personality.wire_status(status)
        if self._try_began != UNKNOWN and (self._head_sent or self.linked or self._linking):
            past = (*past, self._this_try(status, now))
        return RequestEntry(
            client=(client.address, client.name),
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

    def _tell_try(self, event: str, **fields: Any) -> None:
        told = {"upstream_source": self._source, "upstream": self._server, "upstream_name": self._name}
        self._client.tell(event, **told, attempt=self._attempt, **fields, **(self._rule or NO_ROUTE).told)

    def _tell_error(self, why: str, then: str) -> None:
        """Tells of a try that failed; without a connection when it never came to one."""
        if self._around.audience.wanted:
            self._tell_try("upstream-error", reason=why, next=then)
