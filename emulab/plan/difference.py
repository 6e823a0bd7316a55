"""What to remove and what to add to come from one network state to another, in a workable order.

An item may need those of kinds that come before its own (a route needs its link and an address), so adding goes up
the ranks of `links.KINDS` and removing goes down. What vanishes by itself with its namespace or link is not removed
one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emulab.dataclass import dataclass
from emulab.plan.links import Item, rank
from emulab.plan.links.item import End
from emulab.plan.mesh import ways_and_items
from emulab.plan.state import Mesh, Namespace, Network, Rules

RulesetChange = tuple[tuple[str, str], Rules | None, Rules]
"""A key, and what there was and will be."""


@dataclass(frozen=True, slots=True)
class NetworkChange:
    """The difference of two network states. Items are in the order in which they are to be done."""

    remove_rulesets: tuple[tuple[str, str], ...]  # their keys: namespace and what they are
    make_room: tuple[Item, ...]  # removed before the adding: something added takes their slot
    thinned: tuple[
        tuple[tuple[str, str], Rules, Rules], ...
    ]  # meshes that lose ways before it, for the same reason
    remove: tuple[Item, ...]
    remove_namespaces: tuple[str, ...]
    add_namespaces: tuple[Namespace, ...]
    add: tuple[Item, ...]
    rulesets: tuple[RulesetChange, ...]  # in the order in which they are to be written

    @property
    def empty(self) -> bool:
        return not any(
            (
                *(self.remove_rulesets, self.make_room, self.remove, self.remove_namespaces),
                *(self.add_namespaces, self.add, self.rulesets),
            )
        )


def _order(item: Item) -> tuple[object, ...]:
    return (rank(item), *item.order())


def dead_links(removed: Iterable[Item]) -> set[End]:
    """Every link end that goes when `removed` goes."""
    return {end for item in removed for end in item.ends()}


def vanishes_with(item: Item, links: set[End]) -> bool:
    """Whether an item goes by itself when these links go.

    A link is removed before the one that carries it. So is what several links carry: a route of IPv4 goes with one of
    its next hops, one of IPv6 goes on without it.
    """
    carriers = item.on()
    return len(carriers) == 1 and carriers[0] in links and not item.ends()


def _is_rebuilt(item: Item, links: set[End]) -> bool:
    """Whether an item is to be made anew when these links are, as it doesn't just go with them: a port of a bridge,
    an overlay on its device, a route that loses one of its next hops.
    """
    return not links.isdisjoint((*item.on(), *item.joins())) and not vanishes_with(item, links)


def _carried(links: set[End], removed: frozenset[Item], dead: set[End]) -> set[Item]:
    """What must go before these links, even if it is not to come back: the kernel removes it with them."""
    found: set[Item] = set()
    while links:
        more = {i for i in removed - found if not links.isdisjoint(i.on()) and not vanishes_with(i, dead)}
        found |= more
        links = dead_links(more)
    return found


def _thinned(before: Network, after: Network, added: Iterable[Item]) -> dict[tuple[str, str], Mesh]:
    """The meshes that have ways which aren't wanted any more where something added shall be, without these."""
    taken: dict[tuple[str, str], set[str]] = {}
    for key, name, _ in ways_and_items(before, after, added):
        taken.setdefault(key, set()).add(name)
    found: dict[tuple[str, str], Mesh] = {}
    for key, names in taken.items():
        mesh = before.rulesets[key]
        assert isinstance(mesh, Mesh), mesh
        left = {name: way for name, way in mesh.ways.items() if name not in names}
        found[key] = Mesh(mesh.node, mesh.link, left)
    return found


def difference(before: Network, after: Network) -> NetworkChange:
    """The changes that turn `before` into `after`. Pure; empty when they are equal."""
    gone = before.namespaces.keys() - after.namespaces.keys()
    # A namespace whose sysctls differ would have to be made anew; nothing plans that.
    born = [n for name, n in after.namespaces.items() if name not in before.namespaces]
    nothing: frozenset[Item] = frozenset()
    same = before.items is after.items
    removed = nothing if same else before.items - after.items
    added = nothing if same else after.items - before.items
    dead = dead_links(removed)
    if dead:
        # What stays wanted on a link that is made anew is added again, and what is built on it is made anew as well.
        kept = before.items & after.items
        while rebuilt := {i for i in kept - added if _is_rebuilt(i, dead)}:
            removed |= rebuilt
            added |= rebuilt
            dead = dead_links(removed)
        added |= {i for i in kept if vanishes_with(i, dead)}
    taken = {slot for i in added for slot in i.slots()}
    room = {i for i in removed if not taken.isdisjoint(i.slots())}
    room |= {item for _, _, item in ways_and_items(after, before, removed)}
    thinned = _thinned(before, after, added)
    there: Mapping[tuple[str, str], Rules] = {**before.rulesets, **thinned} if thinned else before.rulesets
    room |= _carried(dead_links(room), removed, dead)

    def vanishes(item: Item) -> bool:
        if ends := item.ends():  # one end is enough to remove a pair; a living end does it at once
            return all(namespace in gone for namespace, _ in ends)
        return item.namespace in gone or vanishes_with(item, dead)

    return NetworkChange(
        remove_rulesets=tuple(k for k in before.rulesets if k not in after.rulesets and k[0] not in gone),
        make_room=tuple(sorted(room, key=_order, reverse=True)),
        thinned=tuple((key, before.rulesets[key], mesh) for key, mesh in thinned.items()),
        remove=tuple(sorted((i for i in removed - room if not vanishes(i)), key=_order, reverse=True)),
        remove_namespaces=tuple(n for n in before.namespaces if n in gone),
        add_namespaces=tuple(born),
        add=tuple(sorted(added, key=_order)),
        rulesets=_in_turn(
            (key, there.get(key), ruleset)
            for key, ruleset in after.rulesets.items()
            if before.rulesets.get(key) is not ruleset and before.rulesets.get(key) != ruleset
        ),
    )


def _in_turn(changes: Iterable[RulesetChange]) -> tuple[RulesetChange, ...]:
    """Meshes that only lose ways come last: no rule of a Service leads to pods any more to which there is no way."""
    known: dict[tuple[int, int], bool] = {}  # nodes have the same ways

    def only_loses(change: RulesetChange) -> bool:
        _, before, after = change
        if not isinstance(before, Mesh) or not isinstance(after, Mesh) or before.link != after.link:
            return False
        pair = id(before.ways), id(after.ways)
        if pair not in known:
            known[pair] = all(before.ways.get(name) == way for name, way in after.ways.items())
        return known[pair]

    return tuple(sorted(changes, key=only_loses))
