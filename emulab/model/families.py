"""The two families of IP addresses, and everything that is one way in IPv4 and another in IPv6.

Whoever plans, writes or reads something of a family takes its `Family` and asks it, instead of saying `ip`, `127.0.0.1`
or 20 bytes. Addresses of several families stand together in a tuple, the primary family's first, as in
`status.podIPs` and `spec.clusterIPs` (KEP-563); `of_family` and `first` pick from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import TypeVar

from emulab.dataclass import dataclass
from emulab.model.addresses import IPAddress, IPNetwork

T = TypeVar("T", IPAddress, IPNetwork)


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One family. `nft` is the family of its tables and the name of its header in rules."""

    version: int
    name: str  # as Kubernetes says it: ipFamilies, addressType
    number: int  # AF_INET, AF_INET6; netfilter's NFPROTO_IPV4, NFPROTO_IPV6 are the same numbers
    bits: int  # of an address: the prefix length of a host
    header: int  # bytes, without options (RFC 791, RFC 8200)
    ethertype: int
    nft: str
    nft_address: str  # nftables' type of an address
    iptables: str  # the program, and what its rules are called in a plan
    iproute: str  # the program that shows its routes
    icmp: str  # nftables' and our name of its control protocol
    icmp_number: int
    discovery: str  # what asks for a neighbour's link address (RFC 826, RFC 4861)
    record: str  # the DNS record that holds an address
    loopback: IPAddress
    loopback_network: IPNetwork
    any: IPAddress  # the unspecified address
    everything: IPNetwork  # the destination of a default route

    def __str__(self) -> str:
        return self.name

    def host(self, address: IPAddress) -> IPNetwork:
        """The network of one address."""
        return ip_network((address, self.bits))


IPV4 = Family(
    version=4,
    name="IPv4",
    number=2,
    bits=32,
    header=20,
    ethertype=0x0800,
    nft="ip",
    nft_address="ipv4_addr",
    iptables="iptables",
    iproute="ip",
    icmp="icmp",
    icmp_number=1,
    discovery="ARP",
    record="A",
    loopback=ip_address("127.0.0.1"),
    loopback_network=ip_network("127.0.0.0/8"),
    any=ip_address("0.0.0.0"),
    everything=ip_network("0.0.0.0/0"),
)
IPV6 = Family(
    version=6,
    name="IPv6",
    number=10,
    bits=128,
    header=40,
    ethertype=0x86DD,
    nft="ip6",
    nft_address="ipv6_addr",
    iptables="ip6tables",
    iproute="ip -6",
    icmp="icmpv6",
    icmp_number=58,
    discovery="NDP",
    record="AAAA",
    loopback=ip_address("::1"),
    loopback_network=ip_network("::1/128"),
    any=ip_address("::"),
    everything=ip_network("::/0"),
)
Families = tuple[Family, ...]
"""Those that something has or speaks, the primary one first."""

FAMILIES: Families = (IPV4, IPV6)
_BY_VERSION = {family.version: family for family in FAMILIES}


def family_of(value: IPAddress | IPNetwork) -> Family:
    """The family of an address or a network."""
    return _BY_VERSION[value.version]


def families_of(values: Iterable[IPAddress | IPNetwork]) -> Families:
    """The families of all of them, in the order in which they come first."""
    return tuple(dict.fromkeys(map(family_of, values)))


def by_families(values: Iterable[T], families: Families) -> list[T]:
    """All of them, those of the primary family first: as a kubelet sorts a pod's addresses by its node's
    (`sortPodIPs` in pkg/kubelet/kubelet_pods.go)."""
    order = [family.version for family in families]
    return sorted(values, key=lambda v: order.index(v.version) if v.version in order else len(order))


def of_family(values: Iterable[T], family: Family) -> tuple[T, ...]:
    """Those of one family."""
    return tuple(v for v in values if v.version == family.version)


def first(values: Iterable[T], family: Family) -> T | None:
    """The first one of a family."""
    return next((v for v in values if v.version == family.version), None)
