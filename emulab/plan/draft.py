"""A network state under construction, and the small things that every planner of links needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from ipaddress import ip_interface

from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.families import IPV4, Families, Family, family_of
from emulab.plan.hostsfiles import LOCALHOST
from emulab.plan.links import Address, Item, Route, Veth
from emulab.plan.state import (
    Iptables,
    Ipvs,
    Mesh,
    Namespace,
    Network,
    Place,
    PlannedServer,
    Rules,
    Ruleset,
    Translations,
    Tuning,
    UdpBackends,
    WireguardPeers,
    World,
)
from emulab.plan.sysctls import Sysctls, host

FABRIC = "fabric"
"""The namespace of the wire: a bridge for each underlay network, no address, no route."""

RESERVED_PORTS = frozenset({"internet", "vpc", "router-vpc", "resolver-vpc", "lo", "all", "default"})
"""Names that links of the fabric have already, and two that no link can have (/proc/sys/net/ipv4/conf/all, default)."""


def mac(*parts: str) -> str:
    """A locally administered MAC address, fixed for what it is for."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return "02:" + ":".join(f"{b:02x}" for b in digest[:5])


def interface_name(prefix: str, identity: str, name: str = "") -> str:
    """A name for an interface, at most 15 characters (IFNAMSIZ): `name` where it fits, else a hashed one."""
    if name and len(name) <= 15:
        return name
    return prefix + hashlib.sha256(identity.encode()).hexdigest()[: 15 - len(prefix)][:11]


def rules_key(rules: Rules, family: Family) -> str:
    """What rules are in their namespace."""
    match rules:
        case Ruleset():
            return f"{rules.family} {rules.table}"
        case Iptables():
            return family.iptables
        case Ipvs():
            return "ipvs"
        case Translations():
            return "ebpf"
        case UdpBackends():
            return "udp-backends"
        case Mesh():
            return f"mesh-{family.nft}"
        case WireguardPeers():
            return f"wireguard-{family.nft}"
        case Tuning():
            return "conntrack"


class Draft:
    """Collects namespaces, items, rulesets, servers and places; `world()` is the result."""

    def __init__(self, families: Families = (IPV4,)) -> None:
        """`families`: those that namespaces speak."""
        self._families = families
        self.namespaces: dict[str, Namespace] = {}
        self.items: list[Item] = []
        self._included: list[frozenset[Item]] = []  # joined without hashing each item again
        self.addresses: dict[str, list[IPAddress]] = {}  # by namespace, those given by `address`
        self.rulesets: dict[tuple[str, str], Rules] = {}
        self.servers: dict[str, PlannedServer] = {}
        self.places: dict[str, Place] = {}

    def add(self, *items: Item) -> None:
        self.items += items

    def rules(self, namespace: str, rules: Rules, family: Family = IPV4) -> None:
        """Adds what a namespace shall have of nftables, iptables, IPVS or ways to other nodes."""
        self.rulesets[namespace, rules_key(rules, family)] = rules

    def namespace(self, name: str, settings: Callable[[Families], Sysctls] = host) -> None:
        self.namespaces[name] = Namespace(name, settings(self._families))

    def plug(
        self,
        namespace: str,
        interface: str,
        bridge: str,
        mtu: int,
        port: str = "",
        address: IPAddress | None = None,
    ) -> None:
        """A veth pair from `namespace` to a bridge of the fabric.

        Where an address goes from one place to another, its MAC address goes with it (as many a cloud derives it from
        the address): `address` is the place's first one there. So what neighbours know of it stays right.
        """
        own = "" if port or namespace in RESERVED_PORTS else namespace
        port = interface_name("p", f"{namespace}/{interface}", port or own)
        known = mac(namespace, interface) if address is None else mac(bridge, str(address))
        self.add(Veth(FABRIC, port, mac(FABRIC, port), namespace, interface, known, mtu, bridge))

    def address(
        self, namespace: str, link: str, address: IPAddress, network: IPNetwork | None = None
    ) -> None:
        """An address with its network's prefix, or a host address."""
        self.addresses.setdefault(namespace, []).append(address)
        length = network.prefixlen if network else address.max_prefixlen
        self.add(Address(namespace, link, ip_interface(f"{address}/{length}")))

    def default_route(self, namespace: str, link: str, gateway: IPAddress) -> None:
        self.add(Route(namespace, family_of(gateway).everything, link, gateway))

    def place(
        self,
        name: str,
        kind: str,
        addresses: Iterable[IPAddress],
        resolv_conf: str,
        hosts: str = "",
        namespace: str = "",
    ) -> None:
        addresses = tuple(addresses)
        own = hosts or hosts_file(name, addresses)
        self.places[name] = Place(name, namespace or name, name, resolv_conf, own, addresses, kind)

    def include(self, part: World) -> None:
        """Adds all of a part that is planned."""
        self.namespaces.update(part.network.namespaces)
        self.include_items(part.network.items)
        self.rulesets.update(part.network.rulesets)
        self.servers.update(part.servers)
        self.places.update(part.places)

    def include_items(self, items: frozenset[Item]) -> None:
        """Adds items, of which there may be thousands that were there before."""
        self._included.append(items)

    def world(self) -> World:
        items = frozenset(self.items).union(*self._included)
        return World(Network(self.namespaces, items, self.rulesets), self.servers, self.places)


def hosts_file(hostname: str, addresses: Iterable[IPAddress]) -> str:
    """An /etc/hosts with localhost and the host's own name."""
    return "\n".join([*LOCALHOST, *(f"{a}\t{hostname}" for a in addresses)]) + "\n"
