"""What is told of a request: tries, what went wrong, the end. The docstring of `servers.l7` describes the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulab.servers.accesslog import OWN, escaped
from emulab.servers.l7.engine.commands import LOG, Command
from emulab.servers.l7.engine.filters.basic import credentials
from emulab.servers.l7.engine.filters.effect import Asked, Page
from emulab.servers.l7.engine.routes import NO_ROUTE, ReadyRoute
from emulab.servers.l7.engine.surroundings import EngineSurroundings
from emulab.servers.l7.messages.request import RequestHead

if TYPE_CHECKING:
    from emulab.servers.l7.engine.connection import ConnectionMachine


class Recorded:
    """An exchange, as records have it."""

    __slots__ = (
        "_around", "_asked", "_attempt", "_client", "_commands", "_head", "_name", "_rule", "_server",
        "_source", "_started", "answered",
    )  # fmt: skip

    _around: EngineSurroundings
    _asked: Asked | None  # what filters are told of the request, where it has any
    _attempt: int  # number of the present try, stale connections included
    _client: ConnectionMachine
    _commands: list[Command]
    _head: RequestHead
    _name: str  # the upstream's
    _rule: ReadyRoute | None
    _server: str  # the upstream's address
    _source: str  # our end of the upstream's connection
    _started: float
    answered: bool  # whether the answer is over, and told

    def _record(
        self, status: int, now: float, answered_by: str = "upstream", reason: str = "", refused_by: str = ""
    ) -> None:
        """Tells of a request that is over: who answered, and why, where that wasn't simply the upstream."""
        self.answered = True
        if self._asked is not None:
            self._asked.over()
        around = self._around
        if around.log.takes(OWN):
            self._log(status, now)
        if not around.audience.wanted:
            return
        client, head, rule = self._client, self._head, self._rule or NO_ROUTE
        client.tell(
            "request",
            method=head.method.decode("latin-1"),
            host=(head.host or b"").decode("latin-1"),
            path=head.target.decode("latin-1"),
            status=client.personality.wire_status(status),
            duration_us=(now - self._started) * 1e6,
            **rule.told,
            upstream=self._server,
            upstream_name=self._name or rule.upstream,
            answered_by=answered_by,
            reason=reason,
            **({"refused_by": refused_by} if refused_by else {}),
            **({"address": client.shown} if client.shown != client.address else {}),
        )

    def _log(self, status: int, now: float) -> None:
        """A line of the access log in ingress-nginx' format (`log-format-upstream`); `-` is what isn't counted here."""
        client, head, when = self._client, self._head, self._around.clock_time()
        shown, seconds = client.personality.wire_status(status), f"{now - self._started:.3f}"
        agent, referer = (escaped(head.field(name) or "-") for name in (b"user-agent", b"referer"))
        name = (self._name or (self._rule or NO_ROUTE).upstream).replace("/", "-")
        upstream = f"{self._server} - {seconds} {shown}" if self._server else "- - - -"
        request_id = head.request_id.decode("latin-1") or "-"
        line = f'{client.shown} - {self._user} [{when}] "{escaped(_asked(head))}" {shown} - "{referer}" "{agent}"'
        client.commands.append((LOG, f"{line} - {seconds} [{name}] [] {upstream} {request_id}"))

    def _log_refusal(self, page: Page) -> None:
        """A line as of nginx's error log, in words that operators know: why somebody may not in."""
        if not self._around.log.takes(OWN):
            return
        client, head, when = self._client, self._head, self._around.clock_time()
        host = (head.host or b"").decode("latin-1")
        asked = f'client: {client.shown}, server: {host}, request: "{escaped(_asked(head))}", host: "{host}"'
        self._commands.append((LOG, f"{when} [error] {page.why}, {asked}"))

    @property
    def _user(self) -> str:
        """Who says it is the one who asks, where somebody wanted to know."""
        if self._asked is None:
            return "-"
        given = credentials(self._head.field(b"authorization"))
        return escaped(given[0].encode("utf-8", "replace").decode()) if given is not None else "-"

    def _tell_try(self, event: str, **fields: Any) -> None:
        told = {"upstream_source": self._source, "upstream": self._server, "upstream_name": self._name}
        self._client.tell(event, **told, attempt=self._attempt, **fields, **(self._rule or NO_ROUTE).told)

    def _tell_error(self, why: str, then: str) -> None:
        """Tells of a try that failed; without a connection when it never came to one."""
        if self._around.audience.wanted:
            self._tell_try("upstream-error", reason=why, next=then)


def _asked(head: RequestHead) -> str:
    """The request's first line, as it was understood; "" where it wasn't."""
    version = "1.0" if head.old else "1.1"
    return (
        f"{head.method.decode('latin-1')} {head.target.decode('latin-1')} HTTP/{version}"
        if head.method
        else ""
    )
