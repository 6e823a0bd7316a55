"""The ways from each node to the pods of all others: n² entries of the kernel, from one value a node. Pure.

A thousand nodes have a million routes, and in an overlay two million entries more. As items they would take a gigabyte
and a minute whenever a world is planned; as a value that all nodes share they take nothing, and what differs between
two of them is found once. `items_of_way` says what one way is in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from emulab.model.addresses import IPNetwork
from emulab.plan.links import ForwardingEntry, Item, Neighbour, Route, RouteTunnel
from emulab.plan.state import Mesh, Network, Way


def items_of_way(namespace: str, link: str, way: Way) -> tuple[Item, ...]:
    """The items that a way is in the kernel of a node: a route, and with VXLAN a neighbour and a forwarding entry."""
    if way.via is not None:
        return (Route(namespace, way.network, link, way.via, onlink=True),)
    if not way.vtep:
        return (Route(namespace, way.network, link, way.node),)
    if way.number:
        gateway, tunnel = way.network[1], RouteTunnel(way.node, way.number)
        return (
            Neighbour(namespace, link, gateway, way.vtep),
            Route(namespace, way.network, link, gateway, onlink=True, tunnel=tunnel),
        )
    # The other end of the overlay has the first address of its range.
    gateway = way.network.network_address
    return (
        Neighbour(namespace, link, gateway, way.vtep),
        ForwardingEntry(namespace, link, way.vtep, way.node),
        Route(namespace, way.network, link, gateway, onlink=True),
    )


def expanded(network: Network, namespace: str = "") -> Iterator[Item]:
    """Every item of a network (or of one namespace), and what its meshes are in the kernel."""
    yield from (i for i in network.items if namespace in ("", i.namespace))
    for (owner, _), mesh in network.rulesets.items():
        if isinstance(mesh, Mesh) and namespace in ("", owner):
            for _, way in mesh.to_others():
                yield from items_of_way(owner, mesh.link, way)


def ways_and_items(
    one: Network, other: Network, items: Iterable[Item]
) -> Iterator[tuple[tuple[str, str], str, Item]]:
    """Ways that the first network has and the other hasn't, each (its mesh and name) with an item that can't be there
    beside it, as both have a slot in common."""
    routes: dict[str, list[Route]] = {}
    for item in items:
        if isinstance(item, Route):
            routes.setdefault(item.namespace, []).append(item)
    known: dict[tuple[int, int], _ByNetwork] = {}
    for key, mesh in one.rulesets.items() if routes else ():
        if not isinstance(mesh, Mesh) or key[0] not in routes:
            continue
        former = other.rulesets.get(key)
        ways = former.ways if isinstance(former, Mesh) and former.link == mesh.link else _NO_WAYS
        pair = id(mesh.ways), id(ways)
        if pair not in known:
            known[pair] = _apart(mesh.ways, ways)
        for route in routes[key[0]] if known[pair] else ():
            for name, way in known[pair].get(route.destination, ()):
                own = (slot for i in items_of_way(key[0], mesh.link, way) for slot in i.slots())
                if (way.owner or name) != mesh.node and not set(route.slots()).isdisjoint(own):
                    yield key, name, route


_ByNetwork = Mapping[IPNetwork, list[tuple[str, Way]]]
_NO_WAYS: Mapping[str, Way] = {}


def _apart(ways: Mapping[str, Way], others: Mapping[str, Way]) -> _ByNetwork:
    """The ways that the others are without, with their names, by where they lead."""
    found: dict[IPNetwork, list[tuple[str, Way]]] = {}
    if ways is not others:
        for name, way in ways.items():
            if others.get(name) != way:
                found.setdefault(way.network, []).append((name, way))
    return found
