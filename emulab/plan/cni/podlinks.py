"""Parts of pods' networks that several plug-ins have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_interface

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress, IPInterface
from emulab.model.families import IPV4, IPV6, Family, family_of
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft, interface_name, mac
from emulab.plan.links import Address, Neighbour, Route, Veth
from emulab.plan.rules.meaning import SNAT, Meaning, meant
from emulab.plan.state import Mesh, Place, Ruleset, Way

GATEWAYS = {IPV4: ip_address("169.254.1.1"), IPV6: ip_address("fe80::1")}
"""What pods take for their router. No link has these addresses: a neighbour entry says that the node's end is it."""
MASQUERADE_TABLE, HOST_PORT_TABLE = "pod-masquerade", "cni_hostport"


def veth_name(identity: str) -> str:
    """The node's end of a pod's link."""
    return interface_name("veth", identity)


def addresses_of(place: Place, cluster: Cluster) -> list[IPAddress]:
    """A pod's addresses of the cluster's families."""
    return [a for a in place.addresses if family_of(a) in cluster.families]


def gateway(node: Node, family: Family) -> IPAddress:
    """The first address of a node's range, which host-local gives nobody: the pods' router has it."""
    return node.pod_range(family)[1]


def alone(node: Node, address: IPAddress) -> IPInterface:
    """A pod's address where it is alone on its link."""
    return ip_interface(address)


def in_range(node: Node, address: IPAddress) -> IPInterface:
    """A pod's address in its node's range."""
    return ip_interface((address, node.pod_range(family_of(address)).prefixlen))


def fixed_gateway(node: Node, family: Family) -> IPAddress:
    """The router of pods whose routers are all called the same."""
    return GATEWAYS[family]


def pod_mac(addresses: Sequence[IPAddress]) -> str:
    """The MAC address of a pod with these addresses."""
    return "0a:58:" + ":".join(f"{b:02x}" for b in addresses[0].packed[-4:])


def pod_link(
    draft: Draft,
    place: Place,
    node: Node,
    link: str,
    cluster: Cluster,
    mtu: int,
    own_mac: str = "",
    master: str = "",
) -> Veth:
    """A pod's namespace and veth pair: the node's end has this name and, where it says so, MAC address and bridge."""
    draft.namespace(place.namespace)
    near, far = own_mac or mac(node.name, link), pod_mac(addresses_of(place, cluster))
    veth = Veth(node.name, link, near, place.namespace, place.interface, far, mtu, master, inner=True)
    draft.add(veth)
    return veth


def routed_link(draft: Draft, place: Place, node: Node, identity: str, cluster: Cluster, mtu: int) -> None:
    """A pod's veth pair, routed on the node (no bridge: every packet between pods meets the node's rules)."""
    pod, interface = place.namespace, place.interface
    veth = pod_link(draft, place, node, veth_name(identity), cluster, mtu)
    for address in addresses_of(place, cluster):
        family = family_of(address)
        draft.add(
            Route(node.name, family.host(address), veth.name),
            Address(pod, interface, alone(node, address)),
            Neighbour(pod, interface, fixed_gateway(node, family), veth.mac),
            Route(pod, family.everything, interface, fixed_gateway(node, family), onlink=True),
        )


def node_routes(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """No encapsulation: on each node a route to the pods' range of each other node, whose next hop is that node."""
    ways = _ways(tuple(nodes), family)
    for node in nodes:
        draft.rules(node.name, Mesh(node.name, "eth0", ways), family)


@lru_cache(maxsize=4)  # a plan like the one before has the very same ways, so that they are soon compared
def _ways(nodes: tuple[Node, ...], family: Family) -> Mapping[str, Way]:
    return {n.name: Way(n.pod_range(family), n.address(family)) for n in nodes}


def masquerade_table(cluster: Cluster, family: Family, nodes: Sequence[Node], which: str = "") -> Ruleset:
    """What pods send out of the cluster leaves with their node's address, as flannel's --ip-masq does it. `which`: what
    of it, as a rule's condition."""
    pods, ip = ", ".join(map(str, cluster.pods_of(family))), family.nft
    rule = f'oifname "eth0" {ip} saddr {{ {pods} }} {ip} daddr != {{ {pods} }} {which}masquerade fully-random'
    chain = "{ type nat hook postrouting priority 110 ; policy accept ; }"
    return Ruleset(ip, MASQUERADE_TABLE, {"postrouting": (chain, meant(rule, Meaning("CNI plug-in", SNAT)))})
