"""flannel's VXLAN: one device a family, and for each other node a route, a neighbour and a forwarding entry. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.clusters import Cluster
from emulab.model.families import IPV4, IPV6, Family
from emulab.plan.cni.plugin import Node, Plugin
from emulab.plan.cni.podlinks import MASQUERADE_TABLE, masquerade, routed_link
from emulab.plan.draft import Draft, mac
from emulab.plan.state import ForwardingEntry, Neighbour, Route, Vxlan

PORT = 8472  # Linux's and flannel's; IANA's is 4789
DEVICES = {IPV4: "flannel.1", IPV6: "flannel-v6.1"}
VNI = 1
_AROUND = 14 + 8 + 8  # bytes beside the outer header: inner Ethernet, UDP, VXLAN (RFC 7348)


def overhead(family: Family) -> int:
    """Bytes around a packet: 50 in IPv4, 70 in IPv6."""
    return _AROUND + family.header


def plan_node(draft: Draft, node: Node, others: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """The device of a family, and the way to the others' ranges."""
    device = DEVICES[family]
    mtu = cluster.mtu - max(map(overhead, cluster.families))
    own = mac(node.name, device)
    draft.add(Vxlan(node.name, device, own, mtu, VNI, node.address(family), PORT, "eth0"))
    draft.address(node.name, device, node.pod_range(family).network_address)
    for other in others:
        vtep, network = mac(other.name, device), other.pod_range(family)
        gateway = network.network_address
        draft.add(
            Neighbour(node.name, device, gateway, vtep),
            ForwardingEntry(node.name, device, vtep, other.address(family)),
            Route(node.name, network, device, gateway, onlink=True),
        )


PLUGIN = Plugin(
    name="vxlan",
    plan_node=plan_node,
    plan_pod=routed_link,
    masquerade=masquerade,
    overhead=overhead,
    ports=frozenset({PORT}),
    tables=frozenset({MASQUERADE_TABLE}),
)
