"""The value types of a plan: what must exist in the kernel and which servers must run. `links/` has the items.

Every kernel object is one frozen value, so a wanted and an applied state compare as sets, and the undo
of adding an item is removing the same item. Nothing here says how; `emulab.kernel` knows that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import NamedTuple

from emulab.dataclass import dataclass, field
from emulab.model.addresses import IPAddress, IPNetwork, socket_name
from emulab.plan.links import Item
from emulab.servers.configuration import Configuration


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace. `sysctls` are paths below /proc/sys with their values, set when it is made. `given` is what
    it is handed over as where somebody else has made it, who sets what he likes."""

    name: str
    sysctls: tuple[tuple[str, str], ...] = ()
    given: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set or map of an nftables table: its declaration and, apart from it, its elements.

    `elements` maps a key to its value ("" in a set), so that a change is an element, not a reload.
    """

    kind: str  # set | map
    declaration: str
    elements: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ruleset:
    """One nftables table. A chain is its declaration ("" for a regular one) followed by its rules."""

    family: str
    table: str
    chains: Mapping[str, tuple[str, ...]]
    collections: Mapping[str, Collection] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Iptables:
    """Chains of iptables with their rules (as written behind `-A CHAIN`), by table (filter, nat, …).

    What is in a built-in chain (PREROUTING, …) is added to it; others may have rules of their own there.
    """

    tables: Mapping[str, Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class VirtualServer:
    """An IPVS service. `persistence`: seconds for which a client stays with a server, 0 for none.

    `mark`: by which its packets are known; its real servers get these as they came, in IP in IP, and answer by
    themselves (ipvsadm's `-f MARK` and `-i`). 0: by address and port, which are translated.
    """

    protocol: str  # tcp | udp | sctp
    address: IPAddress
    port: int
    scheduler: str = "rr"
    persistence: int = 0
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Ipvs:
    """The IPVS table of a namespace: for each service the weights of its real servers (address, port).

    `sysctls` are IPVS' own, which are there once its module is loaded. `graceful`: a real server of TCP that is to go
    keeps the connections that it has until they end.
    """

    servers: Mapping[VirtualServer, Mapping[tuple[IPAddress, int], int]]
    sysctls: tuple[tuple[str, str], ...] = ()
    graceful: bool = True


class BpfFrontend(NamedTuple):
    """An address and port at which a Service is reached by way of BPF maps; None: a node port, at each of the node's.

    `inside`: for pods and the node itself, not for what comes from outside of the cluster.
    """

    protocol: str  # tcp | udp | sctp
    address: IPAddress | None
    port: int
    inside: bool
    ipv6: bool

    @property
    def title(self) -> str:
        """`TCP 10.96.0.1:443`, and `TCP 0.0.0.0:30080` of a node port."""
        anywhere = ip_address("::" if self.ipv6 else "0.0.0.0")
        return f"{self.protocol.upper()} {socket_name(self.address or anywhere, self.port)}"

    @property
    def order(self) -> tuple[object, ...]:
        """By family and address, node ports last, and what is for outside behind what is for inside."""
        where = (1, 0) if self.address is None else (0, int(self.address))
        return (self.ipv6, *where, self.protocol, self.port, not self.inside)

    def __str__(self) -> str:
        return f"{self.title} {'inside' if self.inside else 'outside'}"


class Choice(NamedTuple):
    """Who serves there. `service` tells what shares clients' affinity from others."""

    service: str
    endpoints: tuple[tuple[IPAddress, int], ...]
    affinity: int = 0  # seconds
    masquerade: bool = False
    sources: tuple[IPNetwork, ...] = ()  # who may use it; none: everybody


@dataclass(frozen=True, slots=True)
class Translations:
    """What the BPF programs of a node know: Services, the pods' networks, and the node's own addresses.

    `sysctls` are those that the programs' ways need.
    """

    services: Mapping[BpfFrontend, Choice]
    pods: tuple[IPNetwork, ...]
    local: tuple[IPAddress, ...]
    sysctls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class UdpBackends:
    """Who serves UDP behind each translated address and port (address "" for node ports on any address).

    Whoever serves is `ADDRESS:PORT`. Flows to anybody else are forgotten when this changes, all of them where nobody
    serves, as no rule is ever asked about a flow that goes on.
    """

    frontends: Mapping[tuple[str, int], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Way:
    """How the others reach pods of one node.

    Where the node has an end of an overlay, of MAC address `vtep`, its address there is the network's own; a network
    more of such a node is reached `via` it. The next hop is the node itself otherwise.
    """

    network: IPNetwork
    node: IPAddress
    vtep: str = ""
    via: IPAddress | None = None
    owner: str = ""  # the node, where it has several
    number: int = 0  # of the tunnel, where each route has its own end


@dataclass(frozen=True, slots=True)
class Mesh:
    """The ways of a node to the pods of all others, on a link of its own (`emulab.plan.mesh`).

    `ways` are by node, further ones of a node by any name, and the same for all nodes, so `node` is the one that needs
    none to itself.
    """

    node: str
    link: str
    ways: Mapping[str, Way]

    def to_others(self) -> Iterator[tuple[str, Way]]:
        """The ways that the node needs."""
        return ((name, way) for name, way in self.ways.items() if (way.owner or name) != self.node)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Settings (paths below /proc/sys) of what is in a namespace only once there are rules: connection tracking; and of
    links."""

    sysctls: tuple[tuple[str, str], ...]

    def links(self) -> Iterator[str]:
        """The links that have some of them (net/ipv4/conf/LINK/…)."""
        for path, _ in self.sysctls:
            words = path.split("/")
            if len(words) > 3 and words[2] == "conf":
                yield words[3]


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """A node as the others' WireGuard knows it: its public key, in base64, its address, and its pods."""

    public_key: str
    address: IPAddress
    network: IPNetwork


@dataclass(frozen=True, slots=True)
class WireguardPeers:
    """What a node's WireGuard device is told. `peers` are by node and the same for all, as those of a `Mesh`."""

    node: str
    link: str
    port: int
    private_key: str
    peers: Mapping[str, WireguardPeer]

    def to_others(self) -> Iterator[tuple[str, WireguardPeer]]:
        """The peers that the node has."""
        return ((name, peer) for name, peer in self.peers.items() if name != self.node)


Rules = Ruleset | Iptables | Ipvs | Translations | UdpBackends | Mesh | WireguardPeers | Tuning
"""What is large and changes in part, so that it is one value and not an item each."""


@dataclass(frozen=True, slots=True)
class Network:
    """The wanted state of the kernel.

    `rulesets` are keyed by namespace and what they are there: a table of nftables (`ip kube-proxy`), `iptables`,
    `ip6tables`, `ipvs`, `ebpf`, `udp-backends`, `conntrack`, `mesh-ip` and `mesh-ip6`, or `wireguard-ip` and
    `wireguard-ip6`.
    """

    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    items: frozenset[Item] = frozenset()
    rulesets: Mapping[tuple[str, str], Rules] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedServer:
    """A server that must run: its process is in `namespace` ("" for one that only accepts).

    `listen` names every listening socket (`tcp/10.0.0.10/80`, with `@node1` behind where several places have the
    address) and the namespace in which it is opened. Those of `everywhere` are bound to all addresses there,
    loopback included; the one in their name says whose they are. Rules lead to one that is `ahead`: it listens before
    these are written, and goes on at the sockets of the rules before until they are. Where there may be
    several `workers`, each has sockets of its own there; 0: it never has company. One that `fails` ends as soon as it
    is told its configuration, as its program would.
    """

    name: str
    kind: str  # dns | l4 | ingress | echo | kube-proxy
    namespace: str
    config: Configuration
    listen: Mapping[str, str]
    everywhere: frozenset[str] = frozenset()
    ahead: bool = False
    workers: int = 0
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere a program can run: a namespace and the files that name resolution reads there."""

    name: str
    namespace: str
    hostname: str
    resolv_conf: str
    hosts: str
    addresses: tuple[IPAddress, ...]
    kind: str  # client | dns | resolver | router | balancer | node | pod
    interface: str = "eth0"  # of a pod: that of its addresses
    node: str = ""  # of a pod: where it is


@dataclass(frozen=True, slots=True)
class World:
    """Everything that must exist for a set of objects."""

    network: Network
    servers: Mapping[str, PlannedServer]
    places: Mapping[str, Place]


def world_of(parts: Iterable[World]) -> World:
    """The world that has all of these parts, of which no two have the same."""
    namespaces: dict[str, Namespace] = {}
    rulesets: dict[tuple[str, str], Rules] = {}
    servers: dict[str, PlannedServer] = {}
    places: dict[str, Place] = {}
    items: list[frozenset[Item]] = []
    for part in parts:
        namespaces |= part.network.namespaces
        items.append(part.network.items)
        rulesets |= part.network.rulesets
        servers |= part.servers
        places |= part.places
    return World(Network(namespaces, frozenset().union(*items), rulesets), servers, places)
