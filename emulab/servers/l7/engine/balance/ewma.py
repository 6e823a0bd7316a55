"""Peak EWMA, as ingress-nginx has it (rootfs/etc/nginx/lua/balancer/ewma.lua).

Of two servers that are drawn, of those that this request hasn't been to, the one with the lower average goes first. The
average of the times to connect and answer forgets with a time constant of ten seconds, so it falls while a server isn't
asked. A server that comes begins with the average of the others, so that it isn't overrun.
"""

from __future__ import annotations

from math import exp

from emulab.servers.l7.engine.balance.drawn import draw_two
from emulab.servers.l7.engine.balance.turn import Balancer, Turn

DECAY_TIME = 10.0


class EwmaBalancer(Balancer):
    """By how fast servers answer."""

    def __init__(self, name: str, servers: tuple[str, ...]) -> None:
        super().__init__(name, servers)
        self._known: dict[str, tuple[float, float]] = {}  # the average, and when it was that

    def pick(self, turn: Turn) -> str:
        untried = [server for server in self.servers if server not in turn.tried] or list(self.servers)
        if len(untried) == 1:
            return untried[0]
        first, second = draw_two(untried, turn)
        return second if self._score(second, turn.begun) < self._score(first, turn.begun) else first

    def _score(self, server: str, now: float, time: float = 0.0) -> float:
        average, then = self._known.get(server, (0.0, 0.0))
        weight = exp(-max(0.0, now - then) / DECAY_TIME)
        return average * weight + time * (1.0 - weight)

    def answered(self, turn: Turn, now: float) -> None:
        server = turn.tried[-1]
        self._known[server] = self._score(server, now, now - turn.begun), now

    def follow(self, servers: tuple[str, ...], now: float) -> None:
        added = [server for server in servers if server not in self.servers]
        self.servers = servers
        for gone in self._known.keys() - set(servers):
            del self._known[gone]
        if known := list(self._known.values()):
            average = sum(score for score, _ in known) / len(known)
            self._known |= dict.fromkeys(added, (average, now))

    def inherit(self, old: Balancer, now: float) -> None:
        if isinstance(old, EwmaBalancer):
            servers, self.servers, self._known = self.servers, old.servers, dict(old._known)
            self.follow(servers, now)
