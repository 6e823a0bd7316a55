"""Whose turn it is: among the servers of an upstream, and among the upstreams of a route. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emulab.servers.l7.config import WeightedUpstream


class Group:
    """The servers of one upstream, and whose turn it is."""

    __slots__ = ("_next", "name", "servers")

    def __init__(self, name: str, servers: tuple[str, ...]) -> None:
        self.name = name
        self.servers = servers
        self._next = 0

    def pick(self) -> str:
        """The next server, round robin. There must be one."""
        if len(self.servers) == 1:
            return self.servers[0]
        index = self._next
        if index >= len(self.servers):
            index = 0
        self._next = index + 1
        return self.servers[index]


class Shares:
    """Upstreams that take turns by weight, as evenly as nginx' smooth weighted round robin: 5:1:1 is AABACAA."""

    __slots__ = ("_credits", "_groups", "_total", "_weights")

    def __init__(self, backends: Sequence[WeightedUpstream], groups: Mapping[str, Group]) -> None:
        used = [backend for backend in backends if backend.weight > 0]
        self._groups = [groups.get(backend.upstream) or Group(backend.upstream, ()) for backend in used]
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
