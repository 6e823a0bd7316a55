"""flannel's VXLAN: one device a family, and for each other node a route, a neighbour and a forwarding entry. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import IPV4, IPV6, Family
from emulab.plan.cni.plugin import Node, Plugin
from emulab.plan.cni.podlinks import HOST_PORT_TABLE, MASQUERADE_TABLE, masquerade_table, routed_link
from emulab.plan.draft import Draft, mac
from emulab.plan.links import Vxlan
from emulab.plan.state import Mesh, Way

PORT = 8472  # Linux's and flannel's; IANA's is 4789
DEVICES = {IPV4: "flannel.1", IPV6: "flannel-v6.1"}
VNI = 1
_AROUND = 14 + 8 + 8  # bytes beside the outer header: inner Ethernet, UDP, VXLAN (RFC 7348)


def overhead(family: Family) -> int:
    """Bytes around a packet: 50 in IPv4, 70 in IPv6."""
    return _AROUND + family.header


def plan_nodes(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """The VXLAN device of a family on every node, and the ways from there to the pods' ranges of the other nodes."""
    device, ways = DEVICES[family], _ways(tuple(nodes), family)
    mtu = cluster.mtu - max(map(overhead, cluster.families))
    for node in nodes:
        own = ways[node.name]
        draft.add(Vxlan(node.name, device, own.vtep, mtu, VNI, own.node, PORT, "eth0"))
        draft.address(node.name, device, own.network.network_address)
        draft.rules(node.name, Mesh(node.name, device, ways), family)


@lru_cache(maxsize=4)  # a plan like the one before has the very same ways, so that they are soon compared
def _ways(nodes: tuple[Node, ...], family: Family) -> Mapping[str, Way]:
    device = DEVICES[family]
    return {n.name: Way(n.pod_range(family), n.address(family), mac(n.name, device)) for n in nodes}


PLUGIN = Plugin(
    name="vxlan",
    plan_nodes=plan_nodes,
    plan_pod=routed_link,
    masquerade=masquerade_table,
    overhead=overhead,
    ports=frozenset({PORT}),
    tables=frozenset({MASQUERADE_TABLE, HOST_PORT_TABLE}),
)
