"""Nodes of zones that are far from each other: what becomes of their cables. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kinds.emulab.clusterview import Cluster
from emulab.plan.impaired import Cable, Impairment, Toward


def zone_cables(cluster: Cluster) -> Mapping[str, Cable]:
    """The cables of nodes that have a way to another zone, by node: what they send there is late, or lost."""
    members: dict[str, list[str]] = {}
    for node, zone in cluster.zones.items():
        members.setdefault(zone, []).append(node)
    places = {zone: tuple(nodes) for zone, nodes in members.items()}
    found: dict[str, list[Toward]] = {}
    for link in cluster.links:
        wanted = Impairment(delay=link.delay, jitter=link.jitter, rate=link.rate, loss=link.loss)
        for near, far in ((link.one, link.other), (link.other, link.one)):
            for node in members.get(near, ()):
                found.setdefault(node, []).append(Toward(places.get(far, ()), wanted))
    return {node: Cable(toward=tuple(toward)) for node, toward in found.items()}
