"""Nodes: the objects that a Cluster's `nodes` become, and their namespaces, overlay and rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network

from emulab.dataclass import dataclass
from emulab.kinds.clusters import Cluster
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.draft import FORWARDER, Draft, default_network, interface_name, mac
from emulab.plan.links import Address, ForwardingEntry, Neighbour, Route, Veth, Vxlan
from emulab.plan.proxy.health import plan_health
from emulab.plan.proxy.intents import Candidates, intents, viewer
from emulab.plan.proxy.modes import Proxies
from emulab.plan.state import Place, Ruleset
from emulab.plan.topology import VPC_RESOLV, plug_vpc

VXLAN_OVERHEAD = 50  # bytes: outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8 (RFC 7348)
VXLAN_PORT = 8472  # Linux's and flannel's; IANA's is 4789
VXLAN_DEVICE = "flannel.1"
VNI = 1
POD_GATEWAY = IPv4Address("169.254.1.1")


@dataclass(frozen=True, slots=True)
class Node:
    """What the planners need to know of a Node object."""

    name: str
    address: IPAddress
    pod_ranges: tuple[IPNetwork, ...]

    @staticmethod
    def of(o: Object) -> Node:
        ranges = tuple(ip_network(c) for c in o.spec["podCIDRs"])
        return Node(o.name, ip_address(o.status["address"]), ranges)


def plan_nodes(
    draft: Draft, objects: Objects, cluster: Cluster, services: Sequence[Candidates], proxies: Proxies
) -> list[Node]:
    """Namespaces, underlay, overlay and rules of every node."""
    nodes = [Node.of(o) for o in objects.kind("Node")]
    wanted = intents(services, [viewer(o) for o in objects.kind("Node")])
    masquerade = _pod_masquerade(cluster)
    connect = NETWORK_MODES[cluster.network_mode]
    for node in nodes:
        plug_vpc(draft, node.name, node.address, cluster, FORWARDER)
        draft.place(node.name, "node", [node.address], VPC_RESOLV)
        connect(draft, node, [n for n in nodes if n.name != node.name], cluster)
        proxies.add(node.name, wanted[node.name])
        draft.rules(node.name, masquerade)
    plan_health(draft, cluster, {n.name: n.address for n in nodes}, services, wanted)
    return nodes


def _pod_masquerade(cluster: Cluster) -> Ruleset:
    """What pods send out of the cluster leaves with their node's address, as flannel's --ip-masq does it."""
    pods = ", ".join(str(c) for c in cluster.pod_cidrs if c.version == 4)
    rule = f'oifname "eth0" ip saddr {{ {pods} }} ip daddr != {{ {pods} }} masquerade fully-random'
    chain = "{ type nat hook postrouting priority 110 ; policy accept ; }"
    return Ruleset("ip", "pod-masquerade", {"postrouting": (chain, rule)})


def _vxlan(draft: Draft, node: Node, others: list[Node], cluster: Cluster) -> None:
    """flannel's way: one device, and for each other node a route, a neighbour and a forwarding entry."""
    own = mac(node.name, VXLAN_DEVICE)
    mtu = pod_mtu(cluster)
    draft.add(Vxlan(node.name, VXLAN_DEVICE, own, mtu, VNI, node.address, VXLAN_PORT, "eth0"))
    draft.address(node.name, VXLAN_DEVICE, node.pod_ranges[0].network_address)
    for other in others:
        vtep = mac(other.name, VXLAN_DEVICE)
        gateway = other.pod_ranges[0].network_address
        draft.add(
            Neighbour(node.name, VXLAN_DEVICE, gateway, vtep),
            ForwardingEntry(node.name, VXLAN_DEVICE, vtep, other.address),
            Route(node.name, other.pod_ranges[0], VXLAN_DEVICE, gateway, onlink=True),
        )


def _routed(draft: Draft, node: Node, others: list[Node], cluster: Cluster) -> None:
    """No encapsulation: the other nodes are the next hops of their pods (flannel's host-gw)."""
    for other in others:
        draft.add(Route(node.name, other.pod_ranges[0], "eth0", other.address))


NETWORK_MODES: dict[str, Callable[[Draft, Node, list[Node], Cluster], None]] = {
    "vxlan": _vxlan,
    "routed": _routed,
}


def pod_mtu(cluster: Cluster) -> int:
    """The MTU of pod links in bytes: what the underlay leaves after encapsulation."""
    return cluster.mtu - (VXLAN_OVERHEAD if cluster.network_mode == "vxlan" else 0)


def plan_pod_link(draft: Draft, place: Place, node: Node, identity: str, mtu: int) -> None:
    """A pod's veth pair, routed on the node (no bridge: every packet between pods meets the node's rules)."""
    pod = place.namespace
    address = place.addresses[0]
    link = interface_name("veth", identity)
    gateway_mac = mac(node.name, link)
    draft.namespace(pod)
    own_mac = "0a:58:" + ":".join(f"{b:02x}" for b in address.packed[-4:])
    draft.add(
        Veth(node.name, link, gateway_mac, pod, "eth0", own_mac, mtu),
        Route(node.name, ip_network(address), link),
        Address(pod, "eth0", ip_interface(address)),
        Neighbour(pod, "eth0", POD_GATEWAY, gateway_mac),
        Route(pod, default_network(POD_GATEWAY), "eth0", POD_GATEWAY, onlink=True),
    )
