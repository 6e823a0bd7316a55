"""The world outside the cluster: the two underlay networks and the places on them.

The fabric is a namespace with one bridge for each underlay network, so that what two nodes send each
other doesn't pass through the router. Every place has an address of each of the cluster's families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from emulab.kinds.emulab.client import Client
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.resolver import OWN_RESOLVER
from emulab.kinds.registry import CLIENT, RESOLVER
from emulab.kinds.underlay import Underlay, underlay_addresses
from emulab.model.addresses import IPAddress
from emulab.model.families import Families, family_of
from emulab.plan.draft import FABRIC, Draft, mac
from emulab.plan.kept import PlanSource
from emulab.plan.links import AnnouncedLink, Bridge, Route
from emulab.plan.rules.meaning import SNAT, Meaning, meant
from emulab.plan.state import Ruleset
from emulab.plan.sysctls import Sysctls, announcer, forwarder, host, switch


def plan_outside(draft: Draft, source: PlanSource, cluster: Cluster) -> None:
    """Fabric, router, resolver, dns and clients."""
    draft.namespace(FABRIC, switch)
    for bridge in ("internet", "vpc"):
        draft.add(Bridge(FABRIC, bridge, mac(FABRIC, bridge), cluster.mtu))
    _router(draft, cluster)
    underlays, resolv_conf = cluster.underlays, internet_resolv_conf(cluster)
    own = f"nameserver {underlays[0].dns}\n"
    _on_internet(draft, "dns", [u.dns for u in underlays], cluster, own, "dns")
    _on_internet(
        draft, "resolver", [u.resolver_internet for u in underlays], cluster, resolv_conf, "resolver"
    )
    # The resolver has a leg in the vpc too, as a cloud's own resolver has: private zones are answered there alone.
    draft.plug("resolver", "eth1", "vpc", cluster.mtu, "resolver-vpc")
    for u in underlays:
        draft.address("resolver", "eth1", u.resolver_vpc, u.vpc)
    for o in source.members(CLIENT).values():
        addresses = underlay_addresses(o)
        if not addresses:
            continue
        told = _nameservers(source, Client.of(o), cluster)
        if o.spec.get("network") == "vpc":
            plug_vpc(draft, o.name, addresses, cluster)
            draft.place(o.name, "client", addresses, told)
        else:
            _on_internet(draft, o.name, addresses, cluster, told, "client")
    for o in source.members(RESOLVER).values():
        addresses = underlay_addresses(o)
        if not addresses or o.name == OWN_RESOLVER:
            continue
        if o.spec.get("network") == "vpc":
            plug_vpc(draft, o.name, addresses, cluster)
            draft.place(o.name, "resolver", addresses, f"nameserver {addresses[0]}\n")
        else:
            _on_internet(draft, o.name, addresses, cluster, f"nameserver {addresses[0]}\n", "resolver")


def _nameservers(source: PlanSource, client: Client, cluster: Cluster) -> str:
    """A client's /etc/resolv.conf: the Resolver that it names, or the lab's own."""
    own = vpc_resolv_conf(cluster) if client.network == "vpc" else internet_resolv_conf(cluster)
    named = source.members(RESOLVER).get(RESOLVER.key("", client.resolver))
    if named is None or named.name == OWN_RESOLVER:
        return own
    addresses = underlay_addresses(named)
    return f"nameserver {addresses[0]}\n" if addresses else own


def internet_resolv_conf(cluster: Cluster) -> str:
    """The /etc/resolv.conf of places in the internet: the resolver, by its address of the primary family."""
    return f"nameserver {cluster.underlays[0].resolver_internet}\n"


def vpc_resolv_conf(cluster: Cluster) -> str:
    """The /etc/resolv.conf of places in the vpc."""
    return f"nameserver {cluster.underlays[0].resolver_vpc}\n"


def _router(draft: Draft, cluster: Cluster) -> None:
    name, addresses = "router", list[IPAddress]()
    draft.namespace(name, forwarder)
    draft.plug(name, "internet", "internet", cluster.mtu, "router")
    draft.plug(name, "vpc", "vpc", cluster.mtu, "router-vpc")
    for u in cluster.underlays:
        draft.address(name, "internet", u.router_internet, u.internet)
        draft.address(name, "internet", u.nat)
        draft.address(name, "vpc", u.router_vpc, u.vpc)
        draft.rules(name, _nat_gateway(u))
        addresses += [u.router_internet, u.router_vpc, u.nat]
    draft.place(name, "router", addresses, vpc_resolv_conf(cluster))


def _nat_gateway(u: Underlay) -> Ruleset:
    """What the vpc sends to the internet of its own accord leaves with the NAT gateway's address."""
    rule = f'oifname "internet" {u.family.nft} saddr {u.vpc} snat to {u.nat}'
    chain = "{ type nat hook postrouting priority 100 ; policy accept ; }"
    gateway = meant(rule, Meaning("NAT gateway", SNAT))
    return Ruleset(u.family.nft, "nat-gateway", {"postrouting": (chain, gateway)})


def _on_internet(
    draft: Draft, name: str, addresses: Iterable[IPAddress], cluster: Cluster, resolv_conf: str, kind: str
) -> None:
    addresses = tuple(addresses)
    draft.namespace(name)
    draft.plug(name, "eth0", "internet", cluster.mtu, address=addresses[0])
    for address in addresses:
        u = cluster.underlay(family_of(address))
        draft.address(name, "eth0", address, u.internet)
        draft.default_route(name, "eth0", u.router_internet)
    draft.place(name, kind, addresses, resolv_conf)


def plug_vpc(
    draft: Draft,
    name: str,
    addresses: Iterable[IPAddress],
    cluster: Cluster,
    settings: Callable[[Families], Sysctls] = host,
) -> None:
    """A namespace with one leg in the vpc and the router as its way out."""
    addresses = tuple(addresses)
    draft.namespace(name, settings)
    draft.plug(name, "eth0", "vpc", cluster.mtu, address=addresses[0])
    for address in addresses:
        u = cluster.underlay(family_of(address))
        draft.address(name, "eth0", address, u.vpc)
        draft.default_route(name, "eth0", u.router_vpc)


class BalancerNode(NamedTuple):
    """One of the nodes of a balancer, between which its addresses move."""

    place: str
    addresses: tuple[IPAddress, ...]  # its own


def plug_nodes(
    draft: Draft,
    nodes: Sequence[BalancerNode],
    addresses: Sequence[IPAddress],
    vips: Sequence[IPAddress],
    cluster: Cluster,
) -> None:
    """A balancer's nodes: in the vpc, without the addresses that move. The router knows the way to a virtual address by
    the balancer's own one, wherever that is."""
    for own, vip in zip(addresses, vips, strict=True):
        if vip != own:
            draft.add(Route("router", family_of(vip).host(vip), "vpc", own))
    for node in nodes:
        plug_vpc(draft, node.place, node.addresses, cluster, announcer)
        both = dict.fromkeys([*vips, *addresses, *node.addresses])
        draft.place(node.place, "balancer", both, vpc_resolv_conf(cluster))


def plug_balancer(
    draft: Draft, name: str, addresses: Iterable[IPAddress], vips: Iterable[IPAddress], cluster: Cluster
) -> None:
    """A balancer's place: in the vpc, with a virtual address for each own one on top where that is another one.

    Its addresses may have been elsewhere, those of a balancer with two nodes.
    """
    pairs = list(zip(addresses, vips, strict=True))
    plug_vpc(draft, name, [own for own, _ in pairs], cluster, announcer)
    draft.add(AnnouncedLink(name, "eth0", mac("vpc", str(pairs[0][0]))))
    for own, vip in pairs:
        if vip != own:
            draft.address(name, "eth0", vip)
            draft.add(Route("router", family_of(vip).host(vip), "vpc", own))
    both = dict.fromkeys([*(vip for _, vip in pairs), *(own for own, _ in pairs)])
    draft.place(name, "balancer", both, vpc_resolv_conf(cluster))
