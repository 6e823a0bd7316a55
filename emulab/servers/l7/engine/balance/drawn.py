"""Servers that are drawn: any, or of two that are drawn the one with fewer requests under way (Envoy's `RANDOM` and
`LEAST_REQUEST`)."""

from __future__ import annotations

from collections import Counter

from emulab.servers.l7.engine.balance.turn import Balancer, Turn


def draw_two(servers: list[str], turn: Turn) -> tuple[str, str]:
    """Two different ones. There must be as many; `servers` is as it was afterwards."""
    first = turn.draw(len(servers))
    second = turn.draw(len(servers) - 1)
    return servers[first], servers[second + (second >= first)]


class DrawnBalancer(Balancer):
    """Any."""

    def pick(self, turn: Turn) -> str:
        return self.servers[turn.draw(len(self.servers))]


class LeastRequestBalancer(Balancer):
    """The power of two choices."""

    def __init__(self, name: str, servers: tuple[str, ...]) -> None:
        super().__init__(name, servers)
        self._under_way: Counter[str] = Counter()

    def pick(self, turn: Turn) -> str:
        if len(self.servers) == 1:
            return self.servers[0]
        first, second = draw_two(list(self.servers), turn)
        return second if self._under_way[second] < self._under_way[first] else first

    def begun(self, server: str) -> None:
        self._under_way[server] += 1

    def left(self, server: str) -> None:
        self._under_way[server] -= 1
        if not self._under_way[server]:
            del self._under_way[server]

    def inherit(self, old: Balancer, now: float) -> None:
        if isinstance(old, LeastRequestBalancer):
            self._under_way = old._under_way  # one count: requests that `old` sent are still under way
