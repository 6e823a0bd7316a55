"""Nodes: the places that Node objects are, with the pods' network there."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.plan.cni import plugin_of
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.proxy.modes.mode import Site
from emulab.plan.state import Tuning
from emulab.plan.sysctls import forwarder
from emulab.plan.topology import plug_vpc, vpc_resolv_conf


def plan_nodes(draft: Draft, nodes: Sequence[Node], cluster: Cluster) -> list[Site]:
    """Namespaces, underlay and overlay of every node, and where their proxies are."""
    plugin, resolv_conf = plugin_of(cluster), vpc_resolv_conf(cluster)
    for node in nodes:
        plug_vpc(draft, node.name, node.addresses, cluster, forwarder)
        draft.place(node.name, "node", node.addresses, resolv_conf)
    for family in cluster.families:
        plugin.plan_nodes(draft, nodes, cluster, family)
    for rules in [plugin.masquerade(cluster, family) for family in cluster.families]:
        for node in nodes:
            draft.rules(node.name, rules)
    for node in nodes:
        draft.rules(node.name, Tuning(cluster.conntrack))
    return [Site(node.name, node.addresses, tuple(draft.addresses[node.name])) for node in nodes]
