"""Upstreams that take turns by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emulab.servers.l7.config import Upstream, WeightedUpstream
from emulab.servers.l7.engine.balance.group import Group


class Shares:
    """As evenly as nginx' smooth weighted round robin: 5:1:1 is AABACAA."""

    __slots__ = ("_credits", "_groups", "_total", "_weights")

    def __init__(self, backends: Sequence[WeightedUpstream], groups: Mapping[str, Group]) -> None:
        used = [backend for backend in backends if backend.weight > 0]
        self._groups = [groups.get(one.upstream) or Group(one.upstream, Upstream()) for one in used]
        self._weights = [backend.weight for backend in used]
        self._total = sum(self._weights)
        self._credits = [0] * len(used)

    def pick(self) -> Group | None:
        """The next upstream, None when no backend has a weight."""
        if not self._groups:
            return None
        credits = self._credits = [a + b for a, b in zip(self._credits, self._weights, strict=True)]
        best = credits.index(max(credits))
        credits[best] -= self._total
        return self._groups[best]
