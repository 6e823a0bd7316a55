"""Entries of an overlay that lead elsewhere than to the node whose pods they are for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.faults.effects import WrongWay
from emulab.model.addresses import IPAddress
from emulab.model.families import family_of
from emulab.plan.state import Mesh, Rules, Way


def astray(
    rulesets: Mapping[tuple[str, str], Rules], effects: Sequence[WrongWay], cluster: Cluster
) -> Iterator[tuple[tuple[str, str], Rules]]:
    """The ways of those nodes, of each family."""
    for key, mesh in rulesets.items():
        wrong = [e for e in effects if e.node == key[0]]
        if wrong and isinstance(mesh, Mesh):
            ways = dict(mesh.ways)
            for effect in wrong:
                if effect.to in ways:
                    ways |= _misled(ways, effect.to, _other(mesh, effect, cluster))
            yield key, replace(mesh, ways=ways)


def _misled(ways: Mapping[str, Way], to: str, other: IPAddress) -> dict[str, Way]:
    """All ways to a node that lead to its address."""
    own, found = ways[to], dict[str, Way]()
    for name, way in ways.items():
        if to in (name, way.owner):
            found[name] = replace(way, node=other, via=other if way.via == own.node else way.via)
    return found


def _other(mesh: Mesh, effect: WrongWay, cluster: Cluster) -> IPAddress:
    """Where they lead instead: to a third node, or else to an address that nobody has."""
    others = {name for name, way in mesh.ways.items() if not way.owner}
    known = [effect.instead] if effect.instead else sorted(others - {effect.node, effect.to})
    if known and known[0] in mesh.ways:
        return mesh.ways[known[0]].node
    network = cluster.underlay(family_of(mesh.ways[effect.to].node)).vpc
    return network[-2]
