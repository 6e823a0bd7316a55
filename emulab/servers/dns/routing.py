"""Record sets of which one is answered at a time, by weight, failover and health, as Route 53 has it. Pure.

* By weight: each answer is drawn, and a set's share is its weight's of all healthy ones. Weight 0 is for the case that
  no other is healthy; where all have it, all have equal shares.
* By failover: what of the primary ones is healthy, else of the secondary ones.
* By health alone: all healthy ones together, eight at most, drawn (multivalue answers).

Where none is healthy, health counts for nothing: better a wrong answer than none.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from emulab.servers.dns.config import RecordCheck
from emulab.servers.dns.wire import ResourceRecord
from emulab.servers.health.state import Health

MOST = 8
"""Records of an answer that is not by weight."""
_PRIMARY = "primary"


class RecordSet(NamedTuple):
    """One set. `checked` are the healths that checks find out, by what is checked."""

    records: tuple[ResourceRecord, ...]
    weight: int | None
    failover: str
    told_healthy: bool
    checked: dict[RecordCheck, Health]

    @property
    def healthy(self) -> bool:
        return self.told_healthy and all(health.healthy for health in self.checked.values())


class RoutedSets:
    """All sets of one name and type."""

    def __init__(self, sets: Sequence[RecordSet] = (), drawn: Callable[[], float] = random.random) -> None:
        self.sets = list(sets)
        self._drawn = drawn

    def pick(self) -> tuple[ResourceRecord, ...]:
        """What is answered this time."""
        able = [one for one in self.sets if one.healthy] or self.sets
        if any(one.weight is not None for one in able):
            return self._by_weight([one for one in able if one.weight] or able).records
        able = [one for one in able if one.failover == _PRIMARY] or able
        return self._some([record for one in able for record in one.records])

    def _by_weight(self, sets: Sequence[RecordSet]) -> RecordSet:
        weights = [one.weight or 0 for one in sets]
        if not any(weights):
            weights = [1] * len(sets)
        at = self._drawn() * sum(weights)
        for one, weight in zip(sets, weights, strict=True):
            at -= weight
            if at < 0:
                return one
        return sets[-1]

    def _some(self, records: list[ResourceRecord]) -> tuple[ResourceRecord, ...]:
        found: list[ResourceRecord] = []
        while records and len(found) < MOST:
            found.append(records.pop(min(int(self._drawn() * len(records)), len(records) - 1)))
        return tuple(found)
