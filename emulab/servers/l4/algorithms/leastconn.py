"""The target with the fewest open connections for its weight; among equals, in turn."""

from __future__ import annotations

from emulab.servers.l4.algorithms.roundrobin import RoundRobin
from emulab.servers.l4.balance import BalancedTarget


class LeastConnections:
    """By open connections over weight, as HAProxy's leastconn and IPVS' wlc."""

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def order(self, targets: list[BalancedTarget], client: str) -> list[BalancedTarget]:
        return sorted(self._turns.order(targets, client), key=lambda target: target.open / target.weight)
