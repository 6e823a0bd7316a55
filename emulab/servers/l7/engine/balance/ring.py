"""Consistent hashing: each node has many points on a ring, and a key is the next one's (ketama, as lua-resty-chash and
nginx' `hash … consistent` have it). A node that comes or goes moves the keys of its own points alone."""

from __future__ import annotations

from bisect import bisect_left
from zlib import crc32

POINTS = 160
"""Of each node."""


class HashRing:
    """Keys to nodes."""

    __slots__ = ("_nodes", "_points")

    def __init__(self, nodes: tuple[str, ...]) -> None:
        """There must be a node when a key is looked up."""
        points: dict[int, str] = {}
        for node in sorted(
            set(nodes)
        ):  # of two nodes that share a point the first has it, whatever their order
            base, point = crc32(node.encode()), 0
            for _ in range(POINTS):
                point = crc32(point.to_bytes(4, "little"), base)
                points.setdefault(point, node)
        self._points = sorted(points)
        self._nodes = [points[point] for point in self._points]

    def find(self, key: str) -> str:
        """The node of a key."""
        index = bisect_left(self._points, crc32(key.encode("utf-8", "surrogateescape")))
        return self._nodes[index if index < len(self._nodes) else 0]
