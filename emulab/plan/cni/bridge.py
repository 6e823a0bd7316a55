"""bridge: pods on a bridge of their node, with addresses of the node's range, and static routes between nodes. Pure.

What the reference plug-in `bridge` makes with `isDefaultGateway` and `hairpinMode`, and `host-local` gives
(containernetworking/plugins, plugins/main/bridge). What pods of one node send each other meets the node's rules only
where the kernel has br_netfilter: `emulab.kernel.plugins`.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import Family, family_of
from emulab.plan.cni.plugin import NetworkMode, Node, Plugin
from emulab.plan.cni.podlinks import (
    HOST_PORT_TABLE,
    MASQUERADE_TABLE,
    addresses_of,
    gateway,
    in_range,
    masquerade_table,
    node_routes,
    pod_link,
    veth_name,
)
from emulab.plan.draft import Draft, mac
from emulab.plan.links import Address, Bridge, Hairpin, Route
from emulab.plan.state import Place

BRIDGE = "cni0"


def plan_nodes(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """The bridge on every node, and routes between nodes."""
    for node in nodes:
        bridge(draft, node, BRIDGE, cluster, family)
    node_routes(draft, nodes, cluster, family)


def bridge(draft: Draft, node: Node, name: str, cluster: Cluster, family: Family) -> None:
    """A node's bridge of this name, which has the first address of the node's range."""
    if family is cluster.families[0]:
        draft.add(Bridge(node.name, name, mac(node.name, name), cluster.mtu, inner=True))
    draft.address(node.name, name, gateway(node, family), node.pod_range(family))


def plan_pod(draft: Draft, place: Place, node: Node, identity: str, cluster: Cluster, mtu: int) -> None:
    """A pod's veth pair, a port of the bridge."""
    bridge_port(draft, place, node, identity, BRIDGE, cluster, mtu)


def bridge_port(
    draft: Draft, place: Place, node: Node, identity: str, bridge: str, cluster: Cluster, mtu: int
) -> None:
    """A pod's veth pair, a port of the bridge of this name, with hairpin mode."""
    link = veth_name(identity)
    pod_link(draft, place, node, link, cluster, mtu, master=bridge)
    draft.add(Hairpin(node.name, link))
    for address in addresses_of(place, cluster):
        family = family_of(address)
        draft.add(
            Address(place.namespace, place.interface, in_range(node, address)),
            Route(place.namespace, family.everything, place.interface, gateway(node, family)),
        )


PLUGIN = Plugin(
    name="bridge",
    modes={"routed": NetworkMode(plan_nodes)},
    plan_pod=plan_pod,
    link_name=veth_name,
    link_mac=mac,
    pod_interface=in_range,
    gateway=gateway,
    way_in=lambda identity: BRIDGE,
    masquerade=masquerade_table,
    tables=frozenset({MASQUERADE_TABLE, HOST_PORT_TABLE}),
    bridged=True,
)
