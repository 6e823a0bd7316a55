"""A node's ways to the pods of all others, in the kernel: many entries, of which few change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.links import kinds
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.requests import send_batch
from emulab.kernel.netns import Handle
from emulab.plan.links import Item
from emulab.plan.mesh import items_of_way
from emulab.plan.state import Mesh, Way

Ways = Mapping[str, Way]


class Meshes:
    """Writes meshes. Nodes have the same ways, and links the same index on all of them: a message is made once."""

    def __init__(self, handles: Mapping[str, Handle]) -> None:
        self._handles = handles
        self._made: dict[tuple[bool, int, Way], tuple[tuple[Item, Message], ...]] = {}

    def write(self, namespace: str, before: Mesh | None, after: Mesh | None) -> None:
        """Turns a node's ways into others; None: there are none. Undoes what it did, and raises KernelError."""
        gone, come = _differing(before, after), _differing(after, before)
        if before is not None:
            self._send(namespace, before.link, gone, add=False)
        if after is None:
            return
        try:
            self._send(namespace, after.link, come, add=True)
        except KernelError:
            self._send(namespace, after.link, come, add=False)
            if before is not None:
                self._send(namespace, before.link, gone, add=True)
            raise

    def _send(self, namespace: str, link: str, ways: Iterable[Way], add: bool) -> None:
        """Makes or removes ways. One that isn't there, as after a failure or with its link, is removed already."""
        handle = self._handles[namespace]
        index = handle.indexes.get(link)
        if index is None and not add:
            return
        batch = [told for way in ways for told in self._messages(namespace, link, index or 0, way, add)]
        for failure in send_batch(netns.open_rtnl(handle), [message for _, message in batch]):
            if add:
                item = batch[failure.index][0]
                raise KernelError(f"add {item.title()}: {failure.text}", namespace, failure.errno)

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


def _differing(one: Mesh | None, other: Mesh | None) -> list[Way]:
    """The ways that the first has and the other hasn't."""
    if one is None:
        return []
    known: Ways = other.ways if other is not None and other.link == one.link else {}
    return [way for name, way in one.to_others() if known.get(name) != way]
