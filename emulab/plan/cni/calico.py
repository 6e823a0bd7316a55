"""Calico: a link for each pod, whose router answers for every address, and blocks of addresses routed to nodes. Pure.

* The node's end of a pod's link is `cali` and eleven digits of the SHA-1 of its name, and has the MAC address
  ee:ee:ee:ee:ee:ee on all of them. The pod has an address alone (/32), and its gateway 169.254.1.1, which nobody has:
  proxy ARP answers for it (cni-plugin/pkg/dataplane/linux/dataplane_linux.go). In IPv6 the gateway is the link-local
  address of the node's end.
* A node has addresses in blocks of 64. It takes another one when those that it has are full; each is a route on all
  other nodes, and nothing at all on its own where no pod has the address (felix/dataplane/linux/route_mgr.go). An
  address that a pod of another node has borrowed is a route of its own to there.
* The first address of a node's first block is that of its end of the tunnel.
* With `bgp` blocks are told by BGP, and packets go as they are: `speakers`.
* What pods send to others than pods leaves with the node's address (natOutgoing; felix/rules/nat.go), and what the node
  itself sends into the tunnel by another address of its own with that of the tunnel.

Who has which block, and when pods have addresses of others' blocks, says `emulab.cluster.podblocks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import collapse_addresses, ip_address

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.families import IPV4, IPV6, Family, family_of, of_family
from emulab.plan.cni.blocks import Borrowed, NodeBlocks, blocks_at, borrowed_at
from emulab.plan.cni.plugin import NetworkMode, Node, Plugin
from emulab.plan.cni.podlinks import HOST_PORT_TABLE, addresses_of, alone, pod_link
from emulab.plan.cni.speakers import Announced, plan_speakers
from emulab.plan.draft import Draft, mac
from emulab.plan.kept import PlanSource
from emulab.plan.links import Address, Ipip, ProxyArp, Route, Vxlan
from emulab.plan.rules.meaning import SNAT, Meaning, meant
from emulab.plan.state import Collection, Mesh, Place, Ruleset, Way

NAME = "calico"
ROUTERS = {IPV4: ip_address("169.254.1.1"), IPV6: ip_address("fe80::ecee:eeff:feee:eeee")}
"""The pods' gateway; that of IPv6 is what the kernel makes of ROUTER_MAC (RFC 4291, appendix A)."""
ROUTER_MAC = "ee:ee:ee:ee:ee:ee"
PORT, VNI = 4789, 4096
IPIP_DEVICE = "tunl0"
VXLAN_DEVICES = {IPV4: "vxlan.calico", IPV6: "vxlan-v6.calico"}
_TUNNELS: Mapping[str, Mapping[Family, str]] = {"vxlan": VXLAN_DEVICES, "ipip": {IPV4: IPIP_DEVICE}}
"""The device of a mode that has one."""
MASQUERADED, KNOWN = (
    {IPV4: "cali40masq-ipam-pools", IPV6: "cali60masq-ipam-pools"},
    {
        IPV4: "cali40all-ipam-pools",
        IPV6: "cali60all-ipam-pools",
    },
)


def link_name(identity: str) -> str:
    """The node's end of a pod's link, by what tells the pod from others: `NAMESPACE.NAME~…`."""
    return "cali" + hashlib.sha1(identity.partition("~")[0].encode(), usedforsecurity=False).hexdigest()[:11]


def link_mac(node: str, link: str) -> str:
    """The MAC address of the node's end, which is the same on all of them."""
    return ROUTER_MAC


def gateway(node: Node, family: Family) -> IPAddress:
    """What pods take for their router."""
    return ROUTERS[family]


def plan_vxlan(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """Every node's end of the tunnel."""
    device = VXLAN_DEVICES[family]
    for node in nodes:
        tunnel = node.pod_range(family).network_address
        own_mac, address = mac(node.name, device), node.address(family)
        mtu = cluster.tunnel_mtu(family)
        draft.add(Vxlan(node.name, device, own_mac, mtu, VNI, address, PORT, "eth0"))
        draft.address(node.name, device, tunnel)


def plan_blocks_in_vxlan(
    draft: Draft, source: PlanSource, nodes: Sequence[Node], cluster: Cluster, family: Family
) -> None:
    """The ways to other nodes' blocks: by their ends of the tunnel."""
    blocks = blocks_at(source, cluster.blocks, nodes, family)
    borrowed = borrowed_at(source, cluster.blocks, nodes, blocks, family)
    device, ways = VXLAN_DEVICES[family], _vxlan_ways(tuple(nodes), blocks, borrowed, family)
    _plan_blocks(draft, nodes, blocks, device, ways, family)


def plan_ipip(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """Every node's device of IP in IP."""
    for node in nodes:
        draft.add(Ipip(node.name, cluster.tunnel_mtu(family), IPIP_DEVICE))
        draft.address(node.name, IPIP_DEVICE, node.pod_range(family).network_address)


def plan_blocks_in_ipip(
    draft: Draft, source: PlanSource, nodes: Sequence[Node], cluster: Cluster, family: Family
) -> None:
    """The ways to other nodes' blocks: by the nodes' own addresses, to which the device sends."""
    blocks = blocks_at(source, cluster.blocks, nodes, family)
    borrowed = borrowed_at(source, cluster.blocks, nodes, blocks, family)
    ways = _ipip_ways(tuple(nodes), blocks, borrowed, family)
    _plan_blocks(draft, nodes, blocks, IPIP_DEVICE, ways, family)


def plan_bgp(draft: Draft, nodes: Sequence[Node], cluster: Cluster, family: Family) -> None:
    """Nothing on the nodes' links: neither an overlay, nor ways that are planned."""


def plan_blocks_by_bgp(
    draft: Draft, source: PlanSource, nodes: Sequence[Node], cluster: Cluster, family: Family
) -> None:
    """Who tells the blocks of all families; done with the first of them."""
    if family is not cluster.families[0]:
        return
    by_family = [blocks_at(source, cluster.blocks, nodes, one) for one in cluster.families]
    told = {
        node.name: Announced(blocks=tuple(b for own in of_node for b in own))
        for node, *of_node in zip(nodes, *by_family, strict=True)
    }
    plan_speakers(draft, nodes, told, cluster)


@lru_cache(maxsize=4)  # a plan like the one before has the very same ways, so that they are soon compared
def _vxlan_ways(
    nodes: tuple[Node, ...], blocks: NodeBlocks, borrowed: Borrowed, family: Family
) -> Mapping[str, Way]:
    device, found, ends = VXLAN_DEVICES[family], dict[str, Way](), dict[str, tuple[IPAddress, IPAddress]]()
    for node, (first, *others) in zip(nodes, blocks, strict=True):
        end, address = node.pod_range(family).network_address, node.address(family)
        found[node.name] = Way(first, address, mac(node.name, device))
        for block in others:
            found[f"{node.name} {block}"] = Way(block, address, via=end, owner=node.name)
        ends[node.name] = address, end
    for name, borrower in borrowed:
        address, end = ends[name]
        found[f"{name} {borrower}"] = Way(family.host(borrower), address, via=end, owner=name)
    return found


@lru_cache(maxsize=4)
def _ipip_ways(
    nodes: tuple[Node, ...], blocks: NodeBlocks, borrowed: Borrowed, family: Family
) -> Mapping[str, Way]:
    found, ends = dict[str, Way](), {node.name: node.address(family) for node in nodes}
    for node, (first, *others) in zip(nodes, blocks, strict=True):
        address = node.address(family)
        found[node.name] = Way(first, address, via=address)
        for block in others:
            found[f"{node.name} {block}"] = Way(block, address, via=address, owner=node.name)
    for name, borrower in borrowed:
        found[f"{name} {borrower}"] = Way(family.host(borrower), ends[name], via=ends[name], owner=name)
    return found


def _plan_blocks(
    draft: Draft,
    nodes: Sequence[Node],
    blocks: NodeBlocks,
    link: str,
    ways: Mapping[str, Way],
    family: Family,
) -> None:
    for node, own in zip(nodes, blocks, strict=True):
        draft.rules(node.name, Mesh(node.name, link, ways), family)
        # One of a single address would be in the way of the route to its pod (Felix: `routeIsLocalVXLANBlock`).
        draft.add(*(Route(node.name, block, type="blackhole") for block in own if block.num_addresses > 1))


def plan_pod(draft: Draft, place: Place, node: Node, identity: str, cluster: Cluster, mtu: int) -> None:
    """A pod's veth pair; its router answers for all addresses."""
    pod, interface, link = place.namespace, place.interface, link_name(identity)
    pod_link(draft, place, node, link, cluster, mtu, own_mac=link_mac(node.name, link))
    for address in addresses_of(place, cluster):
        family = family_of(address)
        router = gateway(node, family)
        draft.add(
            # BIRD may still have the address where another node's pod had it; Felix replaces what is there, too.
            Route(node.name, family.host(address), link, replaces=cluster.network_mode == "bgp"),
            Address(pod, interface, alone(node, address)),
            Route(pod, family.everything, interface, router),
        )
        if family is IPV4:
            draft.add(ProxyArp(node.name, link), Route(pod, family.host(router), interface))


def _pools(cluster: Cluster, family: Family) -> list[IPNetwork]:
    """The networks of all pools, to which nothing is masqueraded: of those that give no addresses, too."""
    return [*cluster.pods_of(family), *of_family([pool.network for pool in cluster.pools], family)]


def _masqueraded(cluster: Cluster, family: Family) -> Sequence[IPNetwork]:
    """Those with natOutgoing; where nobody says any pool the pods' networks."""
    pools = [pool for pool in cluster.pools if pool.network.version == family.version]
    if not pools:
        return cluster.pods_of(family)
    return [pool.network for pool in pools if pool.masquerades]


def _texts(networks: Sequence[IPNetwork]) -> Iterator[str]:
    """Networks as elements of a set, in which none may be part of another one."""
    return map(str, collapse_addresses(networks))  # type: ignore[type-var]


def masquerade(cluster: Cluster, family: Family, nodes: Sequence[Node]) -> Ruleset:
    """natOutgoing, and the tunnel's address for what the node sends into it."""
    ip, all_pods, masqueraded = family.nft, KNOWN[family], MASQUERADED[family]
    declaration = f"type {family.nft_address} ; flags interval ;"
    sets = {
        name: Collection("set", declaration, dict.fromkeys(_texts(networks), ""))
        for name, networks in (
            (masqueraded, _masqueraded(cluster, family)),
            (all_pods, _pools(cluster, family)),
        )
    }
    outgoing = f"{ip} saddr @{masqueraded} {ip} daddr != @{all_pods} masquerade fully-random"
    tunnel = _TUNNELS.get(cluster.network_mode)
    chains: dict[str, tuple[str, ...]] = {
        "nat-cali-nat-outgoing": ("", meant(outgoing, Meaning("CNI plug-in", SNAT))),
        "nat-POSTROUTING": (
            "{ type nat hook postrouting priority 110 ; policy accept ; }",
            "jump nat-cali-nat-outgoing",
        ),
    }
    if tunnel is not None:
        device = tunnel[family]
        own = f'oifname "{device}" fib saddr . oif type != local fib saddr type local masquerade fully-random'
        chains["nat-POSTROUTING"] += (meant(own, Meaning("CNI plug-in", SNAT)),)
    return Ruleset(ip, NAME, chains, sets)


PLUGIN = Plugin(
    name=NAME,
    modes={
        "vxlan": NetworkMode(plan_vxlan, plan_blocks_in_vxlan, ports=frozenset({PORT})),
        "ipip": NetworkMode(plan_ipip, plan_blocks_in_ipip, protocols=frozenset({4}), needs=("ipip",)),
        "bgp": NetworkMode(plan_bgp, plan_blocks_by_bgp, programs={"bird": "bird2"}),
    },
    plan_pod=plan_pod,
    link_name=link_name,
    link_mac=link_mac,
    pod_interface=alone,
    gateway=gateway,
    way_in=link_name,
    masquerade=masquerade,
    tables=frozenset({NAME, HOST_PORT_TABLE}),
)
