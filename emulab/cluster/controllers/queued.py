"""Which node is next for Pods that are alike, in less time than asking all nodes for each of them.

Where one Pod is bound, one node's score changes: so the nodes are kept in the order of their scores for as long as Pods
come that ask for the same, as those of a workload do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from emulab.model.objects import Object

Score = Callable[[Object], tuple[float, ...]]
"""The node with the least is taken, the first of those that have it."""


class Queued:
    """The nodes, the best one first. A node may only come to fit no more, and scores of others must not change."""

    def __init__(self, nodes: Sequence[Object], score: Score) -> None:
        self._nodes, self._score = nodes, score
        self._heap = [(score(node), place) for place, node in enumerate(nodes)]
        heapq.heapify(self._heap)

    def best(self, fits: Callable[[Object], bool]) -> Object | None:
        """The best node that fits; None: there is none left."""
        while self._heap:
            node = self._nodes[self._heap[0][1]]
            if fits(node):
                return node
            heapq.heappop(self._heap)
        return None

    def bound(self) -> None:
        """A Pod has been bound to the best node."""
        place = self._heap[0][1]
        heapq.heapreplace(self._heap, (self._score(self._nodes[place]), place))
