"""kindnet: a veth pair for each pod, routed, and routes between nodes, as kindnetd makes it in clusters of kind. Pure.

The pod's end is what the reference plug-in `ptp` makes (containernetworking/plugins, plugins/main/ptp): an address of
the node's range without that range's route, and a gateway that the node's end has, on every link the same. Masquerading
is kindnetd's own (kubernetes-sigs/kind, images/kindnetd: masq.go): whatever isn't for a pod or for the node itself, in
both families and whatever the addresses are, as nothing can be set of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_interface

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import Family, family_of
from emulab.plan.cni.plugin import NetworkMode, Node, Plugin
from emulab.plan.cni.podlinks import (
    HOST_PORT_TABLE,
    addresses_of,
    gateway,
    in_range,
    node_routes,
    pod_link,
    veth_name,
)
from emulab.plan.draft import Draft, mac
from emulab.plan.links import Address, Route
from emulab.plan.rules.meaning import SNAT, Meaning, meant
from emulab.plan.state import Place, Ruleset

TABLE, CHAIN = "kind-masq-agent", "KIND-MASQ-AGENT"


def plan_nodes(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """Routes between nodes. A node has its pods' gateway as an address as soon as it has one."""
    for node in nodes:
        draft.addresses[node.name].append(gateway(node, family))
    node_routes(draft, nodes, cluster, family)


def plan_pod(draft: Draft, place: Place, node: Node, identity: str, cluster: Cluster, mtu: int) -> None:
    """A pod's veth pair, whose node's end is the pod's router."""
    pod, interface = place.namespace, place.interface
    link = pod_link(draft, place, node, veth_name(identity), cluster, mtu).name
    for address in addresses_of(place, cluster):
        family = family_of(address)
        router, network = gateway(node, family), node.pod_range(family)
        draft.add(
            Address(node.name, link, ip_interface(router)),
            Route(node.name, family.host(address), link),
            Address(pod, interface, in_range(node, address), routed=False),
            Route(pod, family.host(router), interface, source=address),
            Route(pod, network, interface, router, source=address),
            Route(pod, family.everything, interface, router),
        )


def masquerade(cluster: Cluster, family: Family, nodes: Sequence[Node]) -> Ruleset:
    """What isn't for a pod or for the node itself leaves with the node's address, whoever sends it."""
    pods, ip = ", ".join(map(str, cluster.pods_of(family))), family.nft
    hook = "{ type nat hook postrouting priority 110 ; policy accept ; }"
    what = Meaning("CNI plug-in", SNAT)
    return Ruleset(
        ip,
        TABLE,
        {
            CHAIN: ("", f"{ip} daddr {{ {pods} }} return", meant("masquerade", what)),
            "postrouting": (hook, f"fib daddr type != local jump {CHAIN}"),
        },
    )


PLUGIN = Plugin(
    name="kindnet",
    modes={"routed": NetworkMode(plan_nodes)},
    plan_pod=plan_pod,
    link_name=veth_name,
    link_mac=mac,
    pod_interface=in_range,
    gateway=gateway,
    way_in=veth_name,
    masquerade=masquerade,
    tables=frozenset({TABLE, HOST_PORT_TABLE}),
    masquerades_global=True,
)
