"""Entries of an overlay that lead elsewhere than to the node whose pods they are for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.faults.effects import WrongWay
from emulab.model.addresses import IPAddress
from emulab.model.families import family_of
from emulab.plan.state import Mesh, Rules


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
                    ways[effect.to] = replace(ways[effect.to], node=_other(mesh, effect, cluster))
            yield key, replace(mesh, ways=ways)


def _other(mesh: Mesh, effect: WrongWay, cluster: Cluster) -> IPAddress:
    """Where they lead instead: to a third node, or else to an address that nobody has."""
    known = [effect.instead] if effect.instead else sorted(mesh.ways.keys() - {effect.node, effect.to})
    if known and known[0] in mesh.ways:
        return mesh.ways[known[0]].node
    network = cluster.underlay(family_of(mesh.ways[effect.to].node)).vpc
    return network[-2]
