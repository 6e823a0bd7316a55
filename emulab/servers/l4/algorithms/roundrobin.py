"""Each target in turn; of different weights, each as often as its weight says."""

from __future__ import annotations

from emulab.servers.l4.balance import BalancedTarget


class RoundRobin:
    """By turns, those of a heavy target spread among the others' (nginx' smooth weighted round robin)."""

    def __init__(self) -> None:
        self._next = 0
        self._credit: dict[BalancedTarget, int] = {}

    def order(self, targets: list[BalancedTarget], client: str) -> list[BalancedTarget]:
        weight = targets[0].weight if targets else 0
        for target in targets:  # no generator: this is done for each connection
            if target.weight != weight:
                return self._by_weight([target for target in targets if target.usable])
        number = len(targets)
        at = self._next if self._next < number else 0
        usable: list[BalancedTarget] = []
        for _ in range(number):
            target = targets[at]
            at = at + 1 if at + 1 < number else 0
            if target.usable:
                if not usable:
                    self._next = at
                usable.append(target)
        return usable

    def _by_weight(self, usable: list[BalancedTarget]) -> list[BalancedTarget]:
        """Each has credit by its weight; who has most has the turn, and pays what all have got."""
        self._credit = {target: self._credit.get(target, 0) + target.weight for target in usable}
        ordered = sorted(usable, key=lambda target: -self._credit[target])
        if ordered:
            self._credit[ordered[0]] -= sum(target.weight for target in usable)
        return ordered
