"""A network state under construction, and the small things that every planner of links needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import ip_interface

from emulab.model.addresses import IPAddress, IPNetwork
from emulab.plan.links import Address, Item, Route, Veth
from emulab.plan.state import (
    Iptables,
    Ipvs,
    Namespace,
    Network,
    Place,
    Rules,
    Ruleset,
    Server,
    UdpBackends,
    World,
)

FABRIC = "fabric"
"""The namespace of the wire: a bridge for each underlay network, no address, no route."""

RESERVED_PORTS = frozenset({"internet", "vpc", "router-vpc", "resolver-vpc", "lo", "all", "default"})
"""Names that links of the fabric have already, and two that no link can have (/proc/sys/net/ipv4/conf/all, default)."""

_COMMON = (
    # Without this every link would send router solicitations and multicast reports of its own accord.
    ("net/ipv6/conf/default/disable_ipv6", "1"),
)
HOST = (*_COMMON, ("net/ipv4/ip_unprivileged_port_start", "0"))  # containerd's default for pods
SWITCH = (
    *_COMMON,
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
)
FORWARDER = (
    *_COMMON,
    ("net/ipv4/ip_forward", "1"),
    # Replies may come another way than requests went (a VIP answered by its balancer), which is right here.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
)


_RULE_KEYS: dict[type, str] = {Iptables: "iptables", Ipvs: "ipvs", UdpBackends: "udp-backends"}


def mac(*parts: str) -> str:
    """A locally administered MAC address, fixed for what it is for."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return "02:" + ":".join(f"{b:02x}" for b in digest[:5])


def interface_name(prefix: str, identity: str, name: str = "") -> str:
    """A name for an interface, at most 15 characters (IFNAMSIZ): `name` where it fits, else a hashed one."""
    if name and len(name) <= 15:
        return name
    return prefix + hashlib.sha256(identity.encode()).hexdigest()[: 15 - len(prefix)][:11]


class Draft:
    """Collects namespaces, items, rulesets, servers and places; `world()` is the result."""

    def __init__(self) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self.items: list[Item] = []
        self.addresses: dict[str, list[IPAddress]] = {}  # by namespace, those given by `address`
        self.rulesets: dict[tuple[str, str], Rules] = {}
        self.servers: dict[str, Server] = {}
        self.places: dict[str, Place] = {}

    def add(self, *items: Item) -> None:
        self.items += items

    def rules(self, namespace: str, rules: Rules) -> None:
        """Adds what nftables, iptables or IPVS of a namespace shall have."""
        key = f"{rules.family} {rules.table}" if isinstance(rules, Ruleset) else _RULE_KEYS[type(rules)]
        self.rulesets[namespace, key] = rules

    def namespace(self, name: str, sysctls: tuple[tuple[str, str], ...] = HOST) -> None:
        self.namespaces[name] = Namespace(name, sysctls)

    def plug(self, namespace: str, interface: str, bridge: str, mtu: int, port: str = "") -> None:
        """A veth pair from `namespace` to a bridge of the fabric."""
        own = "" if port or namespace in RESERVED_PORTS else namespace
        port = interface_name("p", f"{namespace}/{interface}", port or own)
        self.add(
            Veth(
                FABRIC, port, mac(FABRIC, port), namespace, interface, mac(namespace, interface), mtu, bridge
            )
        )

    def address(
        self, namespace: str, link: str, address: IPAddress, network: IPNetwork | None = None
    ) -> None:
        """An address with its network's prefix, or a host address."""
        self.addresses.setdefault(namespace, []).append(address)
        length = network.prefixlen if network else address.max_prefixlen
        self.add(Address(namespace, link, ip_interface(f"{address}/{length}")))

    def default_route(self, namespace: str, link: str, gateway: IPAddress) -> None:
        self.add(Route(namespace, default_network(gateway), link, gateway))

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

    def world(self) -> World:
        return World(
            Network(self.namespaces, frozenset(self.items), self.rulesets), self.servers, self.places
        )


def default_network(address: IPAddress) -> IPNetwork:
    """0.0.0.0/0 or ::/0, whichever is of the address's family."""
    return ip_interface(f"{address}/0").network


def hosts_file(hostname: str, addresses: Iterable[IPAddress]) -> str:
    """An /etc/hosts with localhost and the host's own name."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{a}\t{hostname}" for a in addresses]
    return "\n".join(lines) + "\n"
