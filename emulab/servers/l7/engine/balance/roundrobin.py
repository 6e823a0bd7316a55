"""One after the other."""

from __future__ import annotations

from emulab.servers.l7.engine.balance.turn import Balancer, Turn


class RoundRobinBalancer(Balancer):
    """Its place in the circle is a number: where servers come or go it goes on from about there."""

    _next = 0

    def pick(self, turn: Turn) -> str:
        return self.next()

    def next(self) -> str:
        """Whose turn it is, whoever asks."""
        index = self._next
        if index >= len(self.servers):
            index = 0
        self._next = index + 1
        return self.servers[index]

    def inherit(self, old: Balancer, now: float) -> None:
        if isinstance(old, RoundRobinBalancer):
            self._next = old._next
