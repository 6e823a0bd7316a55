"""Cilium: a link for each pod with an address alone, one overlay device for all nodes, and Services by BPF. Pure.

As Cilium 1.16 has it where nothing is configured (tunnel routing, VXLAN), with routes of endpoints (`endpointRoutes`):

* `cilium_host` and `cilium_net` are a pair of the node's. The first has the first address of the node's range, which is
  its pods' gateway: their one other route says that it is on their link.
* `cilium_vxlan` has no VXLAN number and no peers of its own: each route to another node's range says both. The real one
  has no address, and Cilium's programs give what the node sends there that of `cilium_host`; here it has that itself.
* The node's end of a pod's link is `lxc` and a hash, and has no address.
* What pods send to others than pods leaves with the node's address; with native routing what they send to nodes keeps
  theirs (the set of `installMasqueradeRules`, pkg/datapath/iptables), as these know the way back.

Cilium's VXLAN number is the identity of who sends; here it is that of a pod nobody knows more about, 2 (world). Its
programs send a packet from a pod's link straight to the next one; here the node routes it, so that the node's rules
see it: policies are the lab's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import Family, family_of, of_family
from emulab.plan.cni.flannel import PORT
from emulab.plan.cni.plugin import NetworkMode, Node, Plugin
from emulab.plan.cni.podlinks import (
    HOST_PORT_TABLE,
    MASQUERADE_TABLE,
    addresses_of,
    alone,
    gateway,
    masquerade_table,
    node_routes,
    pod_link,
)
from emulab.plan.draft import Draft, interface_name, mac
from emulab.plan.links import Address, Neighbour, Route, TunnelVxlan, Veth
from emulab.plan.state import Collection, Mesh, Place, Ruleset, Way

HOST, PEER, DEVICE = "cilium_host", "cilium_net", "cilium_vxlan"
WORLD = 2
"""The number of the tunnel: Cilium's identity of whom it doesn't know."""


def link_name(identity: str) -> str:
    """The node's end of a pod's link."""
    return interface_name("lxc", identity)


def plan_vxlan(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """The pair of a node, its overlay device, and the ways from there to the pods' ranges of the other nodes."""
    ways, mtu = _ways(tuple(nodes), family), cluster.mtu - cluster.overhead
    for node in nodes:
        _plan_host(draft, node, cluster, family)
        if family is cluster.families[0]:
            draft.add(TunnelVxlan(node.name, DEVICE, mac(node.name, DEVICE), mtu, PORT))
        draft.address(node.name, DEVICE, gateway(node, family))
        draft.rules(node.name, Mesh(node.name, DEVICE, ways), family)


def plan_routed(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """The pair of a node, and routes to the others (`routingMode: native` with `autoDirectNodeRoutes`)."""
    for node in nodes:
        _plan_host(draft, node, cluster, family)
    node_routes(draft, nodes, cluster, family)


def _plan_host(draft: Draft, node: Node, cluster: Cluster, family: Family) -> None:
    if family is cluster.families[0]:
        ends = (HOST, mac(node.name, HOST), node.name, PEER, mac(node.name, PEER))
        draft.add(Veth(node.name, *ends, cluster.mtu, inner=True))
    draft.address(node.name, HOST, gateway(node, family))


@lru_cache(maxsize=4)  # a plan like the one before has the very same ways, so that they are soon compared
def _ways(nodes: tuple[Node, ...], family: Family) -> Mapping[str, Way]:
    return {
        n.name: Way(n.pod_range(family), n.address(family), mac(n.name, DEVICE), number=WORLD) for n in nodes
    }


def plan_pod(draft: Draft, place: Place, node: Node, identity: str, cluster: Cluster, mtu: int) -> None:
    """A pod's veth pair, routed on the node."""
    pod, interface = place.namespace, place.interface
    veth = pod_link(draft, place, node, link_name(identity), cluster, mtu)
    for address in addresses_of(place, cluster):
        family = family_of(address)
        router = gateway(node, family)
        draft.add(
            Route(node.name, family.host(address), veth.name),
            Address(pod, interface, alone(node, address)),
            Neighbour(pod, interface, router, veth.mac),
            Route(pod, family.host(router), interface),
            Route(pod, family.everything, interface, router),
        )


def masquerade(cluster: Cluster, family: Family, nodes: Sequence[Node]) -> Ruleset:
    """What becomes on a node of what its pods send out of the cluster."""
    if cluster.network_mode != "routed":
        return masquerade_table(cluster, family, nodes)
    name = f"cilium_node_set_v{family.version}"
    addresses = dict.fromkeys((str(a) for node in nodes for a in of_family(node.addresses, family)), "")
    known = Collection("set", f"type {family.nft_address} ;", addresses)
    table = masquerade_table(cluster, family, nodes, f"{family.nft} daddr != @{name} ")
    return replace(table, collections={name: known})


PLUGIN = Plugin(
    name="cilium",
    modes={
        "vxlan": NetworkMode(plan_vxlan, ports=frozenset({PORT}), needs=("tunnel routes",)),
        "routed": NetworkMode(plan_routed),
    },
    plan_pod=plan_pod,
    link_name=link_name,
    link_mac=mac,
    pod_interface=alone,
    gateway=gateway,
    way_in=link_name,
    masquerade=masquerade,
    tables=frozenset({MASQUERADE_TABLE, HOST_PORT_TABLE}),
)
