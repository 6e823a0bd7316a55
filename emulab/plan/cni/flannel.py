"""flannel: routed pod links, and between nodes VXLAN, or routes alone (its mode host-gw). Pure.

Of the real one's two parts it is the daemon, flanneld: devices, routes and neighbours of nodes have its names and its
form. Pods have a link of their own instead of a bridge, so that rules of a node see what its pods send each other
without br_netfilter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import IPV4, IPV6, Family
from emulab.plan.cni.plugin import NetworkMode, Node, Plugin
from emulab.plan.cni.podlinks import (
    HOST_PORT_TABLE,
    MASQUERADE_TABLE,
    alone,
    fixed_gateway,
    masquerade_table,
    node_routes,
    routed_link,
    veth_name,
)
from emulab.plan.draft import Draft, mac
from emulab.plan.links import Vxlan
from emulab.plan.state import Mesh, Way

PORT = 8472  # Linux's and flannel's; IANA's is 4789
DEVICES = {IPV4: "flannel.1", IPV6: "flannel-v6.1"}
VNI = 1


def plan_vxlan(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """The VXLAN device of a family on every node, and the ways from there to the pods' ranges of the other nodes."""
    device, ways = DEVICES[family], _ways(tuple(nodes), family)
    mtu = cluster.tunnel_mtu(family)
    for node in nodes:
        own, network = ways[node.name], node.pod_range(family)
        draft.add(Vxlan(node.name, device, own.vtep, mtu, VNI, own.node, PORT, "eth0"))
        draft.address(node.name, device, network.network_address)
        draft.rules(node.name, Mesh(node.name, device, ways), family)


@lru_cache(maxsize=4)  # a plan like the one before has the very same ways, so that they are soon compared
def _ways(nodes: tuple[Node, ...], family: Family) -> Mapping[str, Way]:
    device = DEVICES[family]
    return {n.name: Way(n.pod_range(family), n.address(family), mac(n.name, device)) for n in nodes}


PLUGIN = Plugin(
    name="flannel",
    modes={"vxlan": NetworkMode(plan_vxlan, ports=frozenset({PORT})), "routed": NetworkMode(node_routes)},
    plan_pod=routed_link,
    link_name=veth_name,
    link_mac=mac,
    pod_interface=alone,
    gateway=fixed_gateway,
    way_in=veth_name,
    masquerade=masquerade_table,
    tables=frozenset({MASQUERADE_TABLE, HOST_PORT_TABLE}),
)
