"""Each target in turn; of different weights, each as often as its weight says."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.servers.l4.balance import BalancedTarget


class RoundRobin:
    """By turns, those of a heavy target spread among the others' (nginx' smooth weighted round robin)."""

    def __init__(self) -> None:
        self._next = 0
        self._credit: dict[BalancedTarget, int] = {}

    def order(self, targets: Sequence[BalancedTarget], client: str) -> list[BalancedTarget]:
        if any(target.weight != targets[0].weight for target in targets):
            return self._by_weight([target for target in targets if target.usable])
        count = len(targets)
        ring = [(self._next + step) % count for step in range(count)]
        usable = [place for place in ring if targets[place].usable]
        if usable:
            self._next = usable[0] + 1
        return [targets[place] for place in usable]

    def _by_weight(self, usable: list[BalancedTarget]) -> list[BalancedTarget]:
        """Each has credit by its weight; who has most has the turn, and pays what all have got."""
        self._credit = {target: self._credit.get(target, 0) + target.weight for target in usable}
        ordered = sorted(usable, key=lambda target: -self._credit[target])
        if ordered:
            self._credit[ordered[0]] -= sum(target.weight for target in usable)
        return ordered
