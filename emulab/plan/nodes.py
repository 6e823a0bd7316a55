"""Nodes: the places that Node objects are, with the pods' network and the proxy's rules there."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import NODE
from emulab.model.collection import Objects
from emulab.plan.cni import plugin_of
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.proxy.health import plan_health
from emulab.plan.proxy.intents import Candidates, intents, udp_backends, viewer
from emulab.plan.proxy.modes import plan_proxy
from emulab.plan.proxy.modes.mode import Proxies
from emulab.plan.sysctls import forwarder
from emulab.plan.topology import plug_vpc, vpc_resolv_conf


def plan_nodes(
    draft: Draft, objects: Objects, cluster: Cluster, services: Sequence[Candidates], proxies: Proxies
) -> list[Node]:
    """Namespaces, underlay, overlay and rules of every node."""
    nodes = [Node.of(o) for o in objects.kind(NODE)]
    viewers = [viewer(o) for o in objects.kind(NODE)]
    wanted = {f: intents([c for c in services if c.family is f], viewers) for f in cluster.families}
    flows, plugin, resolv_conf = udp_backends(services), plugin_of(cluster), vpc_resolv_conf(cluster)
    masquerade = [plugin.masquerade(cluster, family) for family in cluster.families]
    for node in nodes:
        plug_vpc(draft, node.name, node.addresses, cluster, forwarder)
        draft.place(node.name, "node", node.addresses, resolv_conf)
    for family in cluster.families:
        plugin.plan_nodes(draft, nodes, cluster, family)
    for node in nodes:
        plan_proxy(proxies, node.name, {f: by_node[node.name] for f, by_node in wanted.items()}, flows)
        for rules in masquerade:
            draft.rules(node.name, rules)
    plan_health(draft, cluster, {n.name: n.addresses for n in nodes}, services, wanted)
    return nodes
