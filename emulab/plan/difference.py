"""What to remove and what to add to come from one network state to another, in a workable order.

The order is one list: an item may need those of earlier ranks (a route needs its link and an address), so
adding goes up the ranks and removing goes down. What vanishes by itself with its namespace or link
is not removed one by one.
"""

from __future__ import annotations

from collections.abc import Iterable

from emulab.dataclass import dataclass
from emulab.plan.state import (
    Address,
    Bridge,
    Dummy,
    ForwardingEntry,
    Item,
    Link,
    Namespace,
    Neighbour,
    Network,
    Route,
    Rules,
    Veth,
    Vxlan,
)

RANKS: dict[type, int] = {
    Bridge: 0,  # masters first: a veth names its bridge when it is born
    Dummy: 0,
    Veth: 1,
    Vxlan: 2,  # names its underlay device
    Address: 3,
    Neighbour: 4,
    ForwardingEntry: 5,
    Route: 6,  # needs the link up and, with a gateway, an address in the gateway's network
}


@dataclass(frozen=True, slots=True)
class NetworkChange:
    """The difference of two network states. Items are in the order in which they are to be done."""

    remove_rulesets: tuple[tuple[str, str], ...]  # their keys: namespace and what they are
    make_room: tuple[Item, ...]  # removed before the adding: something added takes their slot
    remove: tuple[Item, ...]
    remove_namespaces: tuple[str, ...]
    add_namespaces: tuple[Namespace, ...]
    add: tuple[Item, ...]
    rulesets: tuple[tuple[tuple[str, str], Rules | None, Rules], ...]  # key, before, after

    @property
    def empty(self) -> bool:
        return not any(
            (
                *(self.remove_rulesets, self.make_room, self.remove, self.remove_namespaces),
                *(self.add_namespaces, self.add, self.rulesets),
            )
        )


def _order(item: Item) -> tuple[object, ...]:
    # Routes: on-link ones before those with a gateway, which must be reachable when they are added.
    gateway = isinstance(item, Route) and item.gateway is not None
    return (RANKS[type(item)], gateway, repr(item))


def _slots(item: Item) -> tuple[tuple[object, ...], ...]:
    """What the kernel lets exist once: two items with a slot in common can't be there together."""
    match item:
        case Veth():
            return (("link", item.namespace, item.name), ("link", item.peer_namespace, item.peer))
        case Bridge() | Vxlan() | Dummy():
            return (("link", item.namespace, item.name),)
        case Route():
            return (("route", item.namespace, item.destination),)
        case Neighbour() | Address():
            return ((type(item), item.namespace, item.link, item.address),)
        case ForwardingEntry():
            return (("fdb", item.namespace, item.link, item.mac),)


def dead_links(removed: Iterable[Item]) -> set[tuple[str, str]]:
    """Namespace and name of every link end that goes when `removed` goes."""
    dead: set[tuple[str, str]] = set()
    for item in removed:
        if isinstance(item, Link):
            dead.add((item.namespace, item.name))
        if isinstance(item, Veth):
            dead.add((item.peer_namespace, item.peer))
    return dead


def depends_on(item: Item, links: set[tuple[str, str]]) -> bool:
    """Whether an item vanishes with one of these links (namespace, name)."""
    return (
        isinstance(item, Address | Neighbour | ForwardingEntry | Route)
        and (item.namespace, item.link) in links
    )


def _built_on(item: Item, links: set[tuple[str, str]]) -> bool:
    """Whether an item is a link that names one of these: a port its bridge, an overlay its device."""
    return (isinstance(item, Veth) and (item.namespace, item.master) in links) or (
        isinstance(item, Vxlan) and (item.namespace, item.device) in links
    )


def difference(before: Network, after: Network) -> NetworkChange:
    """The changes that turn `before` into `after`. Pure; empty when they are equal."""
    gone = before.namespaces.keys() - after.namespaces.keys()
    # A namespace whose sysctls differ would have to be made anew; nothing plans that.
    born = [n for name, n in after.namespaces.items() if name not in before.namespaces]
    nothing: frozenset[Item] = frozenset()
    same = before.items is after.items
    removed = nothing if same else before.items - after.items
    added = nothing if same else after.items - before.items
    # What stays wanted on a link that is made anew is added again, links that are built on it included.
    kept = before.items & after.items if removed else nothing
    while rebuilt := {i for i in kept - added if _built_on(i, dead_links(removed))}:
        removed |= rebuilt
        added |= rebuilt
    dead = dead_links(removed)
    added |= {i for i in kept if depends_on(i, dead)}
    taken = {slot for i in added for slot in _slots(i)}
    make_room = [i for i in removed if any(slot in taken for slot in _slots(i))]
    # The kernel removes an overlay with its device, so it goes first even if it is not to come back.
    room = dead_links(make_room)
    make_room += [i for i in removed if isinstance(i, Vxlan) and _built_on(i, room) and i not in make_room]

    def vanishes(item: Item) -> bool:
        if isinstance(item, Veth):  # one end is enough to remove a pair; a living end does it at once
            return item.namespace in gone and item.peer_namespace in gone
        if item.namespace in gone:
            return True
        return (
            isinstance(item, Address | Neighbour | ForwardingEntry | Route)
            and (item.namespace, item.link) in dead
        )

    later = removed - set(make_room)
    return NetworkChange(
        remove_rulesets=tuple(k for k in before.rulesets if k not in after.rulesets and k[0] not in gone),
        make_room=tuple(sorted(make_room, key=_order, reverse=True)),
        remove=tuple(sorted((i for i in later if not vanishes(i)), key=_order, reverse=True)),
        remove_namespaces=tuple(n for n in before.namespaces if n in gone),
        add_namespaces=tuple(born),
        add=tuple(sorted(added, key=_order)),
        rulesets=tuple(
            (key, before.rulesets.get(key), ruleset)
            for key, ruleset in after.rulesets.items()
            if before.rulesets.get(key) is not ruleset and before.rulesets.get(key) != ruleset
        ),
    )
