"""Parts of pods' networks that several plug-ins have. Pure."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_address, ip_interface

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import IPV4, IPV6, Family, family_of
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft, interface_name, mac
from emulab.plan.links import Address, Neighbour, Route, Veth
from emulab.plan.rules.meaning import SNAT, Meaning, meant
from emulab.plan.state import Place, Ruleset

GATEWAYS = {IPV4: ip_address("169.254.1.1"), IPV6: ip_address("fe80::1")}
"""What pods take for their router. No link has these addresses: a neighbour entry says that the node's end is it."""
MASQUERADE_TABLE, HOST_PORT_TABLE = "pod-masquerade", "cni_hostport"


def routed_link(draft: Draft, place: Place, node: Node, identity: str, cluster: Cluster, mtu: int) -> None:
    """A pod's veth pair, routed on the node (no bridge: every packet between pods meets the node's rules)."""
    pod, interface = place.namespace, place.interface
    addresses = [a for a in place.addresses if family_of(a) in cluster.families]
    link = interface_name("veth", identity)
    gateway_mac = mac(node.name, link)
    draft.namespace(pod)
    own_mac = "0a:58:" + ":".join(f"{b:02x}" for b in addresses[0].packed[-4:])
    draft.add(Veth(node.name, link, gateway_mac, pod, interface, own_mac, mtu))
    for address in addresses:
        family = family_of(address)
        gateway = GATEWAYS[family]
        draft.add(
            Route(node.name, family.host(address), link),
            Address(pod, interface, ip_interface(address)),
            Neighbour(pod, interface, gateway, gateway_mac),
            Route(pod, family.everything, interface, gateway, onlink=True),
        )


_UNIQUE_LOCAL = IPv6Network("fc00::/7")  # RFC 4193: nobody outside knows a way there


def has_global_pods(cluster: Cluster, family: Family) -> bool:
    """Whether pods have addresses of IPv6 that hold outside of the cluster, too, and so go out with them."""
    return family is IPV6 and not any(net.overlaps(_UNIQUE_LOCAL) for net in cluster.pods_of(family))


def masquerade_table(cluster: Cluster, family: Family) -> Ruleset:
    """What pods send out of the cluster leaves with their node's address, as flannel's --ip-masq does it."""
    pods, ip = ", ".join(map(str, cluster.pods_of(family))), family.nft
    rule = f'oifname "eth0" {ip} saddr {{ {pods} }} {ip} daddr != {{ {pods} }} masquerade fully-random'
    chain = "{ type nat hook postrouting priority 110 ; policy accept ; }"
    return Ruleset(ip, MASQUERADE_TABLE, {"postrouting": (chain, meant(rule, Meaning("CNI plug-in", SNAT)))})
