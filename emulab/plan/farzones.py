"""Nodes of zones that are far from each other: what becomes of their cables. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kinds.emulab.clusterview import Cluster
from emulab.plan.impaired import Cable, Impairment, Toward
from emulab.plan.owner import Owner


def zone_cables(cluster: Cluster) -> Mapping[str, Cable]:
    """The cables of nodes that have a way to another zone, by node: what they send there is late, or lost."""
    members, found = _members(cluster), dict[str, list[Toward]]()
    for link in cluster.links:
        wanted = Impairment(delay=link.delay, jitter=link.jitter, rate=link.rate, loss=link.loss)
        for near, far in ((link.one, link.other), (link.other, link.one)):
            for node in members.get(near, ()):
                found.setdefault(node, []).append(Toward(members.get(far, ()), wanted))
    return {node: Cable(toward=tuple(toward)) for node, toward in found.items()}


def lossy_links(cluster: Cluster) -> Owner | None:
    """The links on which packets get lost, as a trace is told of them: with their ends' nodes and what they say."""
    members = _members(cluster)
    found = [
        {
            "field": f"spec.network.links[{index}].loss",
            "says": f"{link.loss:.4%}".rstrip("%").rstrip("0").rstrip(".")
            + f" % of what zone/{link.one} and zone/{link.other} send each other is lost",
            "ends": [members.get(link.one, ()), members.get(link.other, ())],
        }
        for index, link in enumerate(cluster.links)
        if link.loss
    ]
    return Owner("Cluster", "", cluster.name, f"Cluster {cluster.name}", {"links": found}) if found else None


def _members(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """The nodes of each zone."""
    members: dict[str, list[str]] = {}
    for node, zone in cluster.zones.items():
        members.setdefault(zone, []).append(node)
    return {zone: tuple(nodes) for zone, nodes in members.items()}
