"""kube-router: pods on a bridge of their node, and routes that nodes tell each other by BGP. Pure.

As its manifest `generic-kuberouter-all-features.yaml` has it (cloudnativelabs/kube-router):

* The reference plug-in `bridge` gives each pod a port of `kube-bridge` with hairpin mode, and host-local an address of
  the node's range.
* Each node tells its range by BGP (pkg/controllers/routing/network_routes_controller.go). The real one has GoBGP in
  itself, here BIRD speaks (`speakers`).
* `--overlay-type=subnet`: tunnels are for nodes of another subnet alone. A lab's nodes are all in one, so there is
  none; but what a node's pods send is looked up in table 77 first, where ways into tunnels would be
  (pkg/routes/pbr.go).
* What pods send to others than pods and nodes leaves with the node's address (`--enable-pod-egress`,
  pkg/controllers/routing/pod_egress.go), in both families and whatever the addresses are.
* A Service's annotations say which of its addresses the router is told of (pkg/controllers/routing/ecmp_vip.go).

Services are `plan.proxy.modes.kuberouter`'s, or kube-proxy's where the Cluster says so (`--run-service-proxy=false`).
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import Family, of_family
from emulab.plan.cni.advertised import advertised
from emulab.plan.cni.bridge import bridge, bridge_port
from emulab.plan.cni.plugin import NetworkMode, Node, Plugin
from emulab.plan.cni.podlinks import HOST_PORT_TABLE, gateway, in_range, veth_name
from emulab.plan.cni.speakers import Announced, plan_speakers
from emulab.plan.draft import Draft, mac
from emulab.plan.kept import PlanSource
from emulab.plan.links import RoutingRule
from emulab.plan.rules.meaning import SNAT, Meaning, meant
from emulab.plan.state import Collection, Place, Ruleset

NAME = BRIDGE_TABLE = "kube-router"
BRIDGE = "kube-bridge"
TUNNELS = 77
"""The routing table of ways into tunnels."""
_PRIORITY = 32765
"""What the kernel gives the first rule that asks for no priority: before that of the main table."""
_SUBNETS, _NODES = "kube-router-pod-subnets", "kube-router-node-ips"


def plan_nodes(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """The bridge on every node, and the rule for what its pods send."""
    for node in nodes:
        bridge(draft, node, BRIDGE, cluster, family)
        source = node.pod_range(family)
        draft.add(RoutingRule(node.name, _PRIORITY, family.version, source=source, table=TUNNELS))


def plan_told(
    draft: Draft, source: PlanSource, nodes: Sequence[Node], cluster: Cluster, family: Family
) -> None:
    """Who tells the ranges of all families, and addresses of Services; done with the first of them."""
    if family is cluster.families[0]:
        services = advertised(source, [node.name for node in nodes], cluster.families)
        told = {node.name: Announced(ranges=node.pod_ranges, services=services[node.name]) for node in nodes}
        plan_speakers(draft, nodes, told, cluster)


def plan_pod(draft: Draft, place: Place, node: Node, identity: str, cluster: Cluster, mtu: int) -> None:
    """A pod's veth pair, a port of the bridge."""
    bridge_port(draft, place, node, identity, BRIDGE, cluster, mtu)


def masquerade(cluster: Cluster, family: Family, nodes: Sequence[Node]) -> Ruleset:
    """What pods send to others than pods and nodes, with the real one's sets."""
    ip, declaration = family.nft, f"type {family.nft_address} ; flags interval ;"
    ranges = dict.fromkeys((str(node.pod_range(family)) for node in nodes), "")
    addresses = dict.fromkeys((str(a) for node in nodes for a in of_family(node.addresses, family)), "")
    sets = {
        _SUBNETS: Collection("set", declaration, ranges),
        _NODES: Collection("set", f"type {family.nft_address} ;", addresses),
    }
    outgoing = (
        f"{ip} saddr @{_SUBNETS} {ip} daddr != @{_SUBNETS} {ip} daddr != @{_NODES} masquerade fully-random"
    )
    hook = "{ type nat hook postrouting priority 110 ; policy accept ; }"
    chains = {"nat-POSTROUTING": (hook, meant(outgoing, Meaning("CNI plug-in", SNAT)))}
    return Ruleset(ip, BRIDGE_TABLE, chains, sets)


PLUGIN = Plugin(
    name=NAME,
    modes={"bgp": NetworkMode(plan_nodes, plan_told, programs={"bird": "bird2"})},
    plan_pod=plan_pod,
    link_name=veth_name,
    link_mac=mac,
    pod_interface=in_range,
    gateway=gateway,
    way_in=lambda identity: BRIDGE,
    masquerade=masquerade,
    tables=frozenset({BRIDGE_TABLE, HOST_PORT_TABLE}),
    masquerades_global=True,
    bridged=True,
)
