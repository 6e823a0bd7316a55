"""Nodes: the places that Node objects are, with the pods' network there."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.plan.cni import mode_of, plugin_of
from emulab.plan.cni.blocks import ways_to_pods
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.kept import PlanSource
from emulab.plan.links import Route
from emulab.plan.proxy.modes.mode import Site
from emulab.plan.state import Tuning
from emulab.plan.sysctls import forwarder
from emulab.plan.topology import plug_vpc, vpc_resolv_conf


def plan_nodes(draft: Draft, nodes: Sequence[Node], cluster: Cluster) -> list[Site]:
    """Namespaces, underlay and overlay of every node, and where their proxies are."""
    plugin, mode, resolv_conf = plugin_of(cluster), mode_of(cluster), vpc_resolv_conf(cluster)
    for node in nodes:
        plug_vpc(draft, node.name, node.addresses, cluster, forwarder)
        draft.place(node.name, "node", node.addresses, resolv_conf)
    for family in cluster.families:
        mode.plan_nodes(draft, nodes, cluster, family)
    for family in cluster.families:
        if cluster.has_global_pods(family):
            # Of the resolver, which has a leg in each network: it answers pods in theirs.
            for network in cluster.pods_of(family):
                draft.add(Route("resolver", network, "eth1", cluster.underlay(family).router_vpc))
            asked = any(p.masquerades for p in cluster.pools if p.network.version == family.version)
            if not plugin.masquerades_global and not asked:
                continue
        rules = plugin.masquerade(cluster, family, nodes)
        for node in nodes:
            draft.rules(node.name, rules)
    for node in nodes:
        draft.rules(node.name, Tuning(cluster.conntrack))
    return [Site(node.name, node.addresses, tuple(draft.addresses[node.name])) for node in nodes]


def plan_blocks(draft: Draft, source: PlanSource, cluster: Cluster, nodes: Sequence[Node]) -> None:
    """What nodes and the router have for the addresses that pods have.

    Of pods whose addresses hold everywhere the router knows the nodes, as that of a cloud does which has delegated a
    prefix to each node.
    """
    plan = mode_of(cluster).plan_blocks if not cluster.chain else None
    for family in cluster.families:
        if plan is not None:
            plan(draft, source, nodes, cluster, family)
        if cluster.has_global_pods(family):
            ways = ways_to_pods(source, cluster, nodes, family)
            draft.add(*(Route("router", pods, "vpc", node) for pods, node in ways))
