"""The world outside the cluster: the two underlay networks and the places on them.

The fabric is a namespace with one bridge for each underlay network, so that what two nodes send each
other doesn't pass through the router.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from emulab.kinds import underlay as at
from emulab.kinds.clusters import Cluster
from emulab.model.addresses import IPAddress
from emulab.model.collection import Objects
from emulab.plan.draft import FABRIC, FORWARDER, HOST, SWITCH, Draft, mac
from emulab.plan.links import Bridge, Route
from emulab.plan.state import Ruleset

INTERNET_RESOLV = f"nameserver {at.RESOLVER_INTERNET}\n"
VPC_RESOLV = f"nameserver {at.RESOLVER_VPC}\n"


def plan_outside(draft: Draft, objects: Objects, cluster: Cluster) -> None:
    """Fabric, router, resolver, dns and clients."""
    draft.namespace(FABRIC, SWITCH)
    for bridge in ("internet", "vpc"):
        draft.add(Bridge(FABRIC, bridge, mac(FABRIC, bridge), cluster.mtu))
    _router(draft, cluster)
    _on_internet(draft, "dns", at.DNS_ADDRESS, cluster, f"nameserver {at.DNS_ADDRESS}\n", "dns")
    _on_internet(draft, "resolver", at.RESOLVER_INTERNET, cluster, INTERNET_RESOLV, "resolver")
    # The resolver has a leg in the vpc too, as a cloud's own resolver has: private zones are answered there alone.
    draft.plug("resolver", "eth1", "vpc", cluster.mtu, "resolver-vpc")
    draft.address("resolver", "eth1", at.RESOLVER_VPC, at.VPC)
    for o in objects.kind("Client"):
        address = at.underlay_address(o)
        if address is None:
            continue
        if o.spec.get("network") == "vpc":
            plug_vpc(draft, o.name, address, cluster)
            draft.place(o.name, "client", [address], VPC_RESOLV)
        else:
            _on_internet(draft, o.name, address, cluster, INTERNET_RESOLV, "client")


def _router(draft: Draft, cluster: Cluster) -> None:
    name = "router"
    draft.namespace(name, FORWARDER)
    draft.plug(name, "internet", "internet", cluster.mtu, "router")
    draft.plug(name, "vpc", "vpc", cluster.mtu, "router-vpc")
    draft.address(name, "internet", at.ROUTER_INTERNET, at.INTERNET)
    draft.address(name, "internet", at.NAT_ADDRESS)
    draft.address(name, "vpc", at.ROUTER_VPC, at.VPC)
    draft.place(name, "router", [at.ROUTER_INTERNET, at.ROUTER_VPC, at.NAT_ADDRESS], VPC_RESOLV)
    draft.rules(name, _nat_gateway())


def _nat_gateway() -> Ruleset:
    """What the vpc sends to the internet of its own accord leaves with the NAT gateway's address."""
    rule = f'oifname "internet" ip saddr {at.VPC} snat to {at.NAT_ADDRESS}'
    chain = "{ type nat hook postrouting priority 100 ; policy accept ; }"
    return Ruleset("ip", "nat-gateway", {"postrouting": (chain, rule)})


def _on_internet(
    draft: Draft, name: str, address: IPAddress, cluster: Cluster, resolv_conf: str, kind: str
) -> None:
    draft.namespace(name)
    draft.plug(name, "eth0", "internet", cluster.mtu)
    draft.address(name, "eth0", address, at.INTERNET)
    draft.default_route(name, "eth0", at.ROUTER_INTERNET)
    draft.place(name, kind, [address], resolv_conf)


def plug_vpc(
    draft: Draft, name: str, address: IPAddress, cluster: Cluster, sysctls: tuple[tuple[str, str], ...] = HOST
) -> None:
    """A namespace with one leg in the vpc and the router as its way out."""
    draft.namespace(name, sysctls)
    draft.plug(name, "eth0", "vpc", cluster.mtu)
    draft.address(name, "eth0", address, at.VPC)
    draft.default_route(name, "eth0", at.ROUTER_VPC)


def plug_balancer(draft: Draft, name: str, address: str, vip: str, cluster: Cluster) -> None:
    """A balancer's place: in the vpc, with its virtual address on top where that is another one."""
    own, virtual = ip_address(address), ip_address(vip)
    plug_vpc(draft, name, own, cluster)
    addresses = [own]
    if virtual != own:
        draft.address(name, "eth0", virtual)
        draft.add(Route("router", ip_network(virtual), "vpc", own))
        addresses = [virtual, own]
    draft.place(name, "balancer", addresses, VPC_RESOLV)
