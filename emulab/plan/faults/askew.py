"""Neighbours and ways of nodes that are wrong beside those of the overlay. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emulab.kinds.faults.effects import Askew, WrongNeighbour
from emulab.model.families import IPV4, Family, family_of
from emulab.plan.draft import FABRIC, mac
from emulab.plan.links import Address, Item, Neighbour, ReversePath, Route, Veth
from emulab.plan.state import Mesh, Network, Rules, Ruleset

TABLE = "faults-way"
_CHAIN = "{ type filter hook prerouting priority -140 ; policy accept ; }"


def wrong_neighbours(network: Network, effects: Sequence[WrongNeighbour]) -> Iterator[Item]:
    """Entries for all addresses that others share a network with, where they do."""
    wires = [i for i in network.items if isinstance(i, Veth) and i.namespace == FABRIC]
    addresses = [i for i in network.items if isinstance(i, Address)]
    for effect in effects:
        nobody = mac("nobody", effect.of)
        links = {w.peer: w.master for w in wires if w.peer_namespace == effect.place}
        theirs = {w.peer: w.master for w in wires if w.peer_namespace == effect.of}
        for a in addresses:
            if a.namespace == effect.of and a.link in theirs and not a.address.ip.is_link_local:
                for link in (link for link, master in links.items() if master == theirs[a.link]):
                    yield Neighbour(effect.place, link, a.address.ip, nobody)


def ways_past_the_overlay(network: Network, effects: Sequence[Askew]) -> Iterator[Item]:
    """Routes to the pods of other nodes over the underlay, each in two halves, which are taken before the whole."""
    for mesh in _meshes(network, effects):
        for _, way in mesh.to_others():
            for half in way.network.subnets():
                yield Route(mesh.node, half, "eth0", way.node)
        if _family(mesh) is IPV4:
            yield ReversePath(mesh.node, mesh.link)


def reverse_path_rules(network: Network, effects: Sequence[Askew]) -> Iterator[tuple[tuple[str, str], Rules]]:
    """What filters reverse paths where the kernel has no setting for it."""
    for mesh in _meshes(network, effects):
        if (family := _family(mesh)) is not IPV4:
            rule = f'iifname "{mesh.link}" fib saddr . iif oif 0 counter drop'
            yield (
                (mesh.node, f"{family.nft} {TABLE}"),
                Ruleset(family.nft, TABLE, {"prerouting": (_CHAIN, rule)}),
            )


def _meshes(network: Network, effects: Sequence[Askew]) -> Iterator[Mesh]:
    nodes = {effect.node for effect in effects}
    for (node, _), mesh in network.rulesets.items():
        if node in nodes and isinstance(mesh, Mesh):
            yield mesh


def _family(mesh: Mesh) -> Family:
    return family_of(next(iter(mesh.ways.values())).network)
