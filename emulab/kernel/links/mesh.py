"""A node's ways to the pods of all others, in the kernel: many entries, of which few change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.links import kinds
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.requests import Framed, frame_batch, send_framed
from emulab.kernel.netns import Handle
from emulab.plan.links import Item
from emulab.plan.mesh import items_of_way
from emulab.plan.state import Mesh, Way

_TOGETHER = 32
"""Ways whose messages are put together once, for all nodes but the few that one of them leads to."""

NamedWay = tuple[str, Way]
"""A way, and the node that it leads to."""
WayGroup = Sequence[NamedWay]


class Meshes:
    """Writes meshes. Nodes have the same ways, and links the same index on all of them: a message is made once, and so
    is what is sent of many together."""

    def __init__(self, handles: Mapping[str, Handle]) -> None:
        self._handles = handles
        self._differing: dict[tuple[int, int], list[WayGroup]] = {}
        self._made: dict[tuple[bool, int, Way], tuple[tuple[Item, Message], ...]] = {}
        self._framed: dict[tuple[bool, int, int], list[Framed]] = {}

    def write(self, namespace: str, before: Mesh | None, after: Mesh | None) -> None:
        """Turns a node's ways into others; None: there are none. Undoes what it did, and raises KernelError."""
        gone, come = self._groups(before, after), self._groups(after, before)
        if before is not None:
            self._send(namespace, before, gone, add=False)
        if after is None:
            return
        try:
            self._send(namespace, after, come, add=True)
        except KernelError:
            self._send(namespace, after, come, add=False)
            if before is not None:
                self._send(namespace, before, gone, add=True)
            raise

    def _groups(self, one: Mesh | None, other: Mesh | None) -> list[WayGroup]:
        """The ways that the first has and the other hasn't, those to the node itself included."""
        if one is None:
            return []
        known = other.ways if other is not None and other.link == one.link else {}
        key = id(one.ways), id(known) if known else 0
        if key not in self._differing:
            ways = [(way.owner or name, way) for name, way in one.ways.items() if known.get(name) != way]
            self._differing[key] = [ways[n : n + _TOGETHER] for n in range(0, len(ways), _TOGETHER)]
        return self._differing[key]

    def _send(self, namespace: str, mesh: Mesh, groups: Iterable[WayGroup], add: bool) -> None:
        """Makes or removes ways. One that isn't there, as after a failure or with its link, is removed already."""
        handle = self._handles[namespace]
        index = handle.indexes.get(mesh.link)
        if index is None and not add:
            return
        for group in groups:
            needed = [named for named in group if named[0] != mesh.node]
            key = add, index or 0, id(group)
            loads = self._framed.get(key)
            if loads is None or len(needed) < len(group):
                batch = self._batch(namespace, mesh.link, index or 0, needed, add)
                loads = frame_batch([message for _, message in batch])
                if len(needed) == len(group):
                    self._framed[key] = loads
            for failure in send_framed(netns.open_rtnl(handle), loads):
                if add:
                    item, _ = self._batch(namespace, mesh.link, index or 0, needed, add)[failure.index]
                    raise KernelError(f"add {item.title()}: {failure.text}", namespace, failure.errno)

    def _batch(
        self, namespace: str, link: str, index: int, ways: Iterable[NamedWay], add: bool
    ) -> list[tuple[Item, Message]]:
        return [told for _, way in ways for told in self._messages(namespace, link, index, way, add)]

    def _messages(
        self, namespace: str, link: str, index: int, way: Way, add: bool
    ) -> tuple[tuple[Item, Message], ...]:
        key = add, index, way
        if key not in self._made:
            items = items_of_way(namespace, link, way)
            make = kinds.add if add else kinds.remove
            ordered = items if add else reversed(items)
            self._made[key] = tuple((item, make(item, self._handles)) for item in ordered)
        return self._made[key]
