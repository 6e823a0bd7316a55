"""The networks outside of every cluster, and the addresses that each lab has there.

    internet   clients, the emulated internet's DNS; the router's and the resolver's other leg
    vpc        nodes, balancers, clients of the cluster's own network, from beginning to end in this order
    public     virtual addresses: the balancers' and the NAT gateway's, routed to the vpc

A value for each family. The vpc is the Cluster's `network.underlay`, by default from the private (RFC 1918) and unique
local (RFC 4193) addresses; all else is from the documentation's ranges (RFC 5737, RFC 3849).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

from emulab.dataclass import dataclass
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.families import IPV4, IPV6, Family
from emulab.model.objects import Object

DEFAULT_VPCS: Mapping[Family, IPNetwork] = {IPV4: ip_network("10.0.0.0/24"), IPV6: ip_network("fd00:10::/64")}
"""The nodes' networks of a lab that says none."""
_INTERNET = {IPV4: ip_network("198.51.100.0/24"), IPV6: ip_network("2001:db8:1::/64")}
_PUBLIC = {IPV4: ip_network("203.0.113.0/24"), IPV6: ip_network("2001:db8:2::/64")}
_MOST = 1 << 16  # addresses of a network that are ever given

PUBLIC_NETWORKS = (*_INTERNET.values(), *_PUBLIC.values())
"""Those that are the same in every lab."""


@dataclass(frozen=True, slots=True)
class Underlay:
    """The networks of one family."""

    family: Family
    internet: IPNetwork
    vpc: IPNetwork
    public: IPNetwork

    @property
    def router_internet(self) -> IPAddress:
        return self.internet[1]

    @property
    def router_vpc(self) -> IPAddress:
        return self.vpc[1]

    @property
    def nat(self) -> IPAddress:
        """What the vpc's own connections to the internet come from."""
        return self.public[1]

    @property
    def resolver_internet(self) -> IPAddress:
        return self.internet[53]

    @property
    def resolver_vpc(self) -> IPAddress:
        return self.vpc[2]

    @property
    def dns(self) -> IPAddress:
        return self.internet[54]

    @property
    def public_lb(self) -> IPAddress:
        """The virtual address of `public-lb`."""
        return self.public[10]

    @property
    def public_lb_vpc(self) -> IPAddress:
        return self.vpc[10]

    @property
    def first_client(self) -> int:
        """Where clients' addresses begin in the internet."""
        return 2

    @property
    def first_vip(self) -> int:
        """Where virtual addresses begin that nobody asked for."""
        return 20

    @property
    def first_node(self) -> int:
        """Where nodes' addresses begin in the vpc."""
        return 11

    @property
    def first_balancer(self) -> int:
        return self._part(150)

    @property
    def first_vpc_client(self) -> int:
        return self._part(200)

    @property
    def room_for_nodes(self) -> int:
        """How many nodes a vpc may have, so that something is left for others."""
        return self._part(200)

    def _part(self, of_256: int) -> int:
        """That many 256ths of the vpc."""
        return min(self.vpc.num_addresses, _MOST) * of_256 // 256

    @property
    def fixed(self) -> Mapping[IPAddress, str]:
        """Addresses that every lab gives to places of its own, and whose they are, in words."""
        return {
            self.router_internet: "the router's",
            self.router_vpc: "the router's",
            self.nat: "the NAT gateway's",
            self.resolver_internet: "the resolver's",
            self.resolver_vpc: "the resolver's",
            self.dns: "the DNS server's",
            self.public_lb_vpc: "that of public-lb in the vpc",
        }

    def balancers(self, network: str) -> IPNetwork:
        """Where the virtual address of a LoadBalancer in `network` (vpc or internet) comes from."""
        return self.vpc if network == "vpc" else self.public


def underlay_of(family: Family, vpc: IPNetwork | None = None) -> Underlay:
    """The networks of a family, `vpc` among them where it isn't the default."""
    return Underlay(family, _INTERNET[family], vpc or DEFAULT_VPCS[family], _PUBLIC[family])


def underlay_address(o: Object) -> IPAddress | None:
    """The address in its network that a Client, LoadBalancer, Service or Node has been given: of the primary family."""
    text = o.status.get("address")
    return ip_address(text) if text else None


def underlay_addresses(o: Object) -> tuple[IPAddress, ...]:
    """Those of all families, the primary one's first."""
    given = [e["address"] for e in o.status.get("addresses") or () if e.get("type") == "InternalIP"]
    texts = given or [o.status.get("address")]
    return tuple(ip_address(text) for text in texts if text)


def virtual_addresses(o: Object) -> tuple[IPAddress, ...]:
    """The virtual addresses of a LoadBalancer, by family as its others."""
    texts = o.status.get("vips") or [o.status.get("vip")]
    return tuple(ip_address(text) for text in texts if text)


def replica_addresses(o: Object) -> tuple[tuple[IPAddress, ...], ...]:
    """The own addresses of each node of a balancer that has several; that of the balancer moves between them."""
    return tuple(tuple(map(ip_address, one["addresses"])) for one in o.status.get("replicas") or ())


def with_addresses(addresses: Sequence[IPAddress]) -> dict[str, object]:
    """The part of a status that `underlay_addresses` reads. Two families' stand as a Node's do; one is said once."""
    status: dict[str, object] = {"address": str(addresses[0])}
    if len(addresses) > 1:
        status["addresses"] = [{"type": "InternalIP", "address": str(a)} for a in addresses]
    return status


def with_virtual(addresses: Sequence[IPAddress]) -> dict[str, object]:
    """The part of a status that `virtual_addresses` reads."""
    status: dict[str, object] = {"vip": str(addresses[0])}
    return {**status, "vips": [str(a) for a in addresses]} if len(addresses) > 1 else status
