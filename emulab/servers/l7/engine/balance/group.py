"""The servers of one upstream, and all that decides which of them is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulab.servers.l7.config import (
    Balance,
    ConnectionLimits,
    CookieAffinity,
    DrawnServer,
    HashBy,
    InTurn,
    LeastRequest,
    PeakEwma,
    Upstream,
)
from emulab.servers.l7.engine.balance.affinity import AffinityBalancer
from emulab.servers.l7.engine.balance.drawn import DrawnBalancer, LeastRequestBalancer
from emulab.servers.l7.engine.balance.ewma import EwmaBalancer
from emulab.servers.l7.engine.balance.hashing import HashBalancer
from emulab.servers.l7.engine.balance.limits import Limiter, QueuedRequest, Wake
from emulab.servers.l7.engine.balance.outliers import Outliers
from emulab.servers.l7.engine.balance.roundrobin import RoundRobinBalancer
from emulab.servers.l7.engine.balance.turn import Balancer, Turn

BALANCERS: Mapping[type[Balance], Callable[[Any, str, tuple[str, ...]], Balancer]] = {
    InTurn: lambda _, name, servers: RoundRobinBalancer(name, servers),
    PeakEwma: lambda _, name, servers: EwmaBalancer(name, servers),
    DrawnServer: lambda _, name, servers: DrawnBalancer(name, servers),
    LeastRequest: lambda _, name, servers: LeastRequestBalancer(name, servers),
    HashBy: HashBalancer,
    CookieAffinity: AffinityBalancer,
}

NO_LIMITS = ConnectionLimits()

Heard = Callable[[str, int], None]
"""Takes a server, and the status that it has answered, or what is in its place where it hasn't (see `outliers`)."""


class Group:
    """One upstream. `plain`: nothing is to be known of a request to pick its server, and nothing is to be told."""

    __slots__ = (
        "_limiter",
        "_outliers",
        "balancer",
        "heard",
        "limits",
        "name",
        "pick",
        "plain",
        "servers",
        "upstream",
    )

    pick: Callable[[], str]
    """The next server of a plain one. There must be one."""

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        self.upstream = upstream
        self.servers = upstream.servers
        self.balancer = BALANCERS[type(upstream.balance)](upstream.balance, name, upstream.servers)
        self.limits = upstream.limits or NO_LIMITS
        self._limiter = Limiter()
        outliers = upstream.outliers
        self._outliers = Outliers(outliers, upstream.servers) if outliers is not None else None
        self.heard: Heard | None = None  # who else is to know what servers answer
        self.plain = False
        if isinstance(self.balancer, RoundRobinBalancer):
            self.plain = upstream.limits is None and outliers is None
            only = upstream.servers[0] if len(upstream.servers) == 1 else None
            self.pick = self.balancer.next if only is None else lambda: only

    def inherit(self, old: Group, now: float) -> None:
        """Takes over what `old`, whose requests go on, knows: as much of it as concerns servers that are here, too."""
        self._limiter = old._limiter
        if type(self.balancer) is type(old.balancer):
            self.balancer.inherit(old.balancer, now)
        if self._outliers is not None and old._outliers is not None:
            self._outliers.inherit(old._outliers)

    def status(self, now: float) -> dict[str, object]:
        """For people and tests: who is left out, and who is there."""
        outliers = self._outliers
        return {
            "left_out": [one for one in self.servers if outliers is not None and outliers.is_out(one, now)],
            "under_way": self._limiter.under_way,
            "waiting": self._limiter.waiting,
        }

    # --- a request's way, where the group isn't plain -----------------------------------------------------------

    def enter(self, turn: Turn) -> QueuedRequest | str | None:
        """Lets a request go on (None), has it wait, or says why it may do neither."""
        said = self._limiter.enter(self.limits)
        turn.entered = said is None
        return said

    def give_up(self, turn: Turn, waiting: QueuedRequest) -> None:
        """A request waits no longer."""
        if waiting.called:
            turn.entered = True  # … but has been let in by now, and is to leave
        else:
            self._limiter.give_up(waiting)

    def leave(self, turn: Turn) -> Wake | None:
        """A request is over. Who goes on in its place, if anybody waits."""
        if turn.retrying:
            turn.retrying = False
            self._limiter.retries -= 1
        if not turn.entered:
            return None
        turn.entered = False
        return self._limiter.leave(self.limits)

    def may_retry(self, turn: Turn) -> bool:
        """Whether a request may go on to another try."""
        if not turn.retrying:
            turn.retrying = self._limiter.retry(self.limits)
        return turn.retrying

    def choose(self, turn: Turn, now: float) -> str | None:
        """Whose turn it is; None where every server is left out."""
        if self._outliers is not None and now >= self._outliers.next_change:
            self._look(now)
        if not self.balancer.servers:
            return None
        turn.begun = now
        server = self.balancer.pick(turn)
        turn.tried.append(server)
        turn.failed, turn.asking = False, True
        self.balancer.begun(server)
        return server

    def _look(self, now: float) -> None:
        assert self._outliers is not None
        available = self._outliers.available(now)
        if available != self.balancer.servers:
            self.balancer.follow(available, now)

    def told(self, turn: Turn, status: int, now: float) -> bool:
        """The server of a request has answered so, or hasn't (see `outliers`). Whether it is left out from now on."""
        turn.failed = status <= 0
        if self._outliers is None:
            return False
        server = turn.tried[-1]
        if self.heard is not None and self._outliers.matters(server, status, now):
            self.heard(server, status)
        return self.learn(server, status, now)

    def learn(self, server: str, status: int, now: float) -> bool:
        """A server has answered so, whoever asked it. Whether it is left out from now on."""
        if self._outliers is None or not self._outliers.told(server, status, now):
            return False
        self._look(now)
        return True

    def through(self, turn: Turn, now: float, answered: bool) -> None:
        """The present try is over, if there is one: the server has answered to the end, or not."""
        if not turn.asking:
            return
        turn.asking = False
        self.balancer.left(turn.tried[-1])
        if answered:
            self.balancer.answered(turn, now)
