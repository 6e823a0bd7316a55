"""kube-proxy's ipvs mode: the kernel's IPVS picks endpoints, a device has the addresses, nftables does the rest. Pure.

Every address of a Service is on the device `kube-ipvs0`, so that packets to it are for the node itself. A packet's way
(netfilter/ipvs/ip_vs_core.c says where IPVS stands, at 99 of input and -98 of output):

    prerouting, output      firewall-check: loadBalancerSourceRanges
                            services: marks what must be masqueraded
    input, output           no-endpoint-check: what nobody serves is refused, or dropped by a Local policy
    input                   virtual-servers-check: ports of these addresses that no Service has are refused
    input, output (IPVS)    picks a real server by the scheduler, translates, and sends the packet out
    postrouting             masquerades what is marked, and hairpins: a pod that reached itself
    forward (IPVS)          translates the answer back

kube-proxy has iptables and ipsets for these rules; what they do is the same. IPVS knows nothing of who asks, hence this
mode's peculiarities (kubernetes/kubernetes#97081, syncEndpoint): with the external policy Local and an endpoint on the
node, pods are no exception and stay there; without one, they and the node itself reach all endpoints, and others'
packets are dropped. The internal policy Local without an endpoint on the node means all endpoints, too, where the
Service is for outsiders as well; else the virtual server is left empty, which refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from ipaddress import ip_interface
from itertools import groupby
from typing import NamedTuple, Self

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress
from emulab.model.families import IPV4, Family, of_family
from emulab.plan.draft import Draft, mac
from emulab.plan.links import Address, Dummy, Item
from emulab.plan.persistent import Persistent, change_between
from emulab.plan.proxy import filters
from emulab.plan.proxy.filters import PORT, TABLE, ChainTexts, Elements, RuleWords
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.modes.mode import Mode, Pieces, Site
from emulab.plan.proxy.modes.nftables import MARK, SET_MARK, masquerade_chain
from emulab.plan.proxy.tables import Part, Table
from emulab.plan.state import Collection, Ipvs, Ruleset, VirtualServer

DEVICE = "kube-ipvs0"

SYSCTLS = (
    ("net/ipv4/vs/conntrack", "1"),  # what IPVS translates is masqueraded by conntrack
    ("net/ipv4/vs/expire_nodest_conn", "1"),  # a flow whose server is gone finds another one
    ("net/ipv4/vs/expire_quiescent_template", "1"),  # so does a client of sessionAffinity
    ("net/ipv4/vs/conn_reuse_mode", "1"),  # the kernel's own, with which kube-proxy leaves it since Linux 5.9
)

STRICT_ARP = (("net/ipv4/conf/all/arp_ignore", "1"), ("net/ipv4/conf/all/arp_announce", "2"))
"""ARP is not answered for addresses of the device. IPv6 has no such setting, and strictARP no meaning there."""


class ServiceAddress(NamedTuple):
    """An address and port at which a Service port is reached."""

    address: IPAddress
    port: int
    use: str  # cluster | external | local: whose traffic is masqueraded
    backends: tuple[ProxiedEndpoint, ...]


Weights = Mapping[tuple[IPAddress, int], int]
"""Of the real servers of a virtual one."""
Servers = dict[VirtualServer, Weights]
COUNTED = frozenset({"virtual-ips", "hairpin-connections"})
"""Sets whose elements several Service ports may need; what is elsewhere is one's own."""


class ServerPiece(NamedTuple):
    """What IPVS has for a Service port: what is the same on all nodes, and what is at each node's addresses."""

    servers: Servers
    node_port: tuple[str, int, str, int, Weights] | None
    """Protocol, port, scheduler, seconds of persistence, and the weights of the real servers."""


class ServerSum:
    """Virtual servers of a family, and the table `kube-proxy` beside them."""

    device, up = DEVICE, False
    """What has the addresses of Services, and whether it is brought up."""
    counted = COUNTED

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self._words, self._scheduler = RuleWords(cluster, family), cluster.scheduler
        self._table = Table(family.nft, TABLE, self._chains(), self._collections(), self.counted, {})
        self._pieces = Pieces(self._piece)
        self._servers: dict[tuple[IPAddress, ...], tuple[Persistent[VirtualServer, Weights], int]] = {}
        self._devices: dict[str, tuple[Mapping[str, str], frozenset[Item]]] = {}  # by node

    def _chains(self) -> ChainTexts:
        return _chains(self._words)

    def _collections(self) -> dict[str, Collection]:
        collections = filters.FilterCollections(self._words).collections()
        for name, key in _keys(self._words).items():
            kind, value = ("map", " : verdict") if name.startswith("service-") else ("set", "")
            collections[name] = Collection(kind, f"typeof {key}{value} ;", {})
        return collections

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> bool:
        """See `Sum.exchange`."""
        if not self._table.exchange([self._part(one) for one in gone], [self._part(one) for one in come]):
            return False
        self._pieces.exchange(gone, come)
        return True

    def copy(self) -> Self:
        """See `Sum.copy`."""
        other = copy(self)
        other._table, other._pieces = self._table.copy(), self._pieces.copy()
        other._pieces.make = other._piece
        other._servers, other._devices = dict(self._servers), dict(self._devices)
        return other

    def ruleset(self) -> Ruleset:
        """The table as it is now."""
        return self._table.ruleset()

    def servers(self, addresses: Sequence[IPAddress]) -> Mapping[VirtualServer, Weights]:
        """The virtual servers of the node with these addresses of the family."""
        at, pieces = tuple(addresses), self._pieces
        known, turn = self._servers.get(at, (Persistent({}), -1))
        changed = pieces.changed_since(turn) if turn >= 0 else None
        if changed is None:
            known = Persistent(self._at(at, pieces))
        elif changed:
            old = self._at(at, (piece for own in changed.values() for piece in own))
            new = self._at(at, (piece for name in changed for piece in pieces.of(name)))
            added = {server: weights for server, weights in new.items() if old.get(server) != weights}
            if any(server in known and server not in old for server in added):
                known = Persistent(self._at(at, pieces))  # several Services have it: the last one gets it
            else:
                known = known.changed([server for server in old if server not in new], added)
        self._servers[at] = known, pieces.turn
        return known

    def _at(self, addresses: Sequence[IPAddress], pieces: Iterable[ServerPiece]) -> Servers:
        """The virtual servers of some Service ports."""
        found: Servers = {}
        for piece in pieces:
            found |= piece.servers
            if piece.node_port:
                protocol, port, scheduler, persistence, weights = piece.node_port
                for address in addresses:
                    found[VirtualServer(protocol, address, port, scheduler, persistence)] = weights
        return found

    def device_addresses(self, site: Site) -> frozenset[Item]:
        """The addresses of Services on a node's device, without the node's own."""
        wanted = self.ruleset().collections["virtual-ips"].elements
        known, items = self._devices.get(site.name, ({}, frozenset()))
        if known is not wanted:
            change, own = change_between(known, wanted), frozenset(map(str, site.local))
            gone, come = (
                frozenset(item for a in addresses if a not in own for item in self._of_address(site, a))
                for addresses in (change.removed, change.added)
            )
            items = items - gone | come
            self._devices[site.name] = wanted, items
        return items

    def _of_address(self, site: Site, address: str) -> Iterator[Item]:
        """What a node has of a Service's address."""
        yield Address(site.name, self.device, ip_interface(address))

    def _part(self, given: Intent) -> Part:
        one = _for_everybody(given)
        checks = filters.FilterCollections(self._words)
        checks.add(one)
        found = {name: dict(c.elements) for name, c in checks.collections().items() if c.elements}
        own: dict[str, Elements] = {name: {} for name in _keys(self._words)}
        _add_elements(own, one)
        return Part({}, found | {name: elements for name, elements in own.items() if elements}, {}, {})

    def _piece(self, given: Intent) -> ServerPiece:
        one = _for_everybody(given)
        servers: Servers = {}
        for f in _service_frontends(one):
            server = VirtualServer(one.protocol, f.address, f.port, self._scheduler, one.affinity)
            servers[server] = {b.target: 1 for b in f.backends}
        if not one.node_port:
            return ServerPiece(servers, None)
        outside = one.external or (one.cluster if one.external_local else ())
        return ServerPiece(
            servers,
            (one.protocol, one.node_port, self._scheduler, one.affinity, {b.target: 1 for b in outside}),
        )


def node_table(sums: Mapping[Family, ServerSum], cluster: Cluster, addresses: Sequence[IPAddress]) -> Ipvs:
    """IPVS of the node with these addresses, which has one table for all families."""
    found = [made.servers(of_family(addresses, family)) for family, made in sums.items()]
    servers = found[0] if len(found) == 1 else {server: w for own in found for server, w in own.items()}
    return Ipvs(servers, SYSCTLS + (STRICT_ARP if cluster.strict_arp and IPV4 in sums else ()))


def device_items(site: Site, sums: Iterable[ServerSum]) -> frozenset[Item]:
    """The device with the addresses of Services. One that another device of the node has stays there."""
    sums = list(sums)
    name = sums[0].device
    device = Dummy(site.name, name, mac(site.name, name), sums[0].up)
    return frozenset({device}).union(*(made.device_addresses(site) for made in sums))


def server_sum(intents: Sequence[Intent], cluster: Cluster, family: Family) -> ServerSum:
    """What proxies need for these intents."""
    made = ServerSum(cluster, family)
    for _, own in groupby(intents, key=lambda i: (i.namespace, i.name)):
        made.exchange((), list(own))
    return made


def _add_elements(found: dict[str, Elements], intent: Intent) -> None:
    """Adds all that a Service port has beside IPVS, but for the checks."""
    shortcut = intent.external_local and intent.external_verdict == "drop" and intent.cluster
    for b in intent.reachable:
        found["hairpin-connections"][f"{b.address} . {intent.protocol} . {b.port} . {b.address}"] = ""
    for f in _service_frontends(intent):
        key = f"{f.address} . {intent.protocol} . {f.port}"
        found["virtual-ips"][str(f.address)] = found["virtual-servers"][key] = ""
        found["service-ips"][key] = f"goto mark-{f.use}"
        if shortcut and f.use == "local":
            found["shortcuts"][key] = ""
    if intent.node_port:
        key = f"{intent.protocol} . {intent.node_port}"
        found["service-nodeports"][key] = f"goto mark-{'local' if intent.external_local else 'external'}"
        if shortcut:
            found["shortcut-nodeports"][key] = ""


def _keys(words: RuleWords) -> dict[str, str]:
    """What the elements of each set and map are of."""
    return {
        "service-ips": words.service,
        "service-nodeports": PORT,
        "virtual-ips": words.destination,
        "virtual-servers": words.service,
        "shortcuts": words.service,
        "shortcut-nodeports": PORT,
        "hairpin-connections": words.client,  # as in kube-proxy's ipset KUBE-LOOP-BACK (hash:ip,port,ip)
    }


def _service_frontends(intent: Intent) -> Iterator[ServiceAddress]:
    """A Service port's own addresses."""
    use, outside = (
        ("local", intent.external or intent.cluster)
        if intent.external_local
        else ("external", intent.external)
    )
    for address in intent.cluster_ips:
        yield ServiceAddress(address, intent.port.port, "cluster", intent.internal)
    for address in intent.outside_ips:
        yield ServiceAddress(address, intent.port.port, use, outside)


def _for_everybody(intent: Intent) -> Intent:
    """The internal policy Local counts for nothing on a node without an endpoint."""
    if not intent.internal_local or intent.local:
        return intent
    return replace(intent, internal_local=False, has_any=intent.has_any and bool(intent.cluster))


def _chains(words: RuleWords) -> ChainTexts:
    found = filters.filter_chains(words)
    # IPVS takes what the node sends before anything could look at it translated.
    del found["filter-output-after-dnat"]
    found["filter-output"] += ("ct state new jump no-endpoint-check",)
    found["filter-input"] += ("ct state new jump virtual-servers-check",)
    declaration, *verdicts = found["no-endpoint-check"]
    inside = [
        f"{source} {target} return"
        for source in (f"{words.source} {words.pods}", "fib saddr type local")
        for target in (f"{words.service} @shortcuts", f"{words.local_destination} {PORT} @shortcut-nodeports")
    ]
    dstnat = "priority -100 ; policy accept ;"
    return {
        **found,
        "no-endpoint-check": (declaration, *inside, *verdicts),
        "virtual-servers-check": (
            "",
            f"{words.service} @virtual-servers return",
            f"{words.destination} @virtual-ips goto refuse",
        ),
        "mark-cluster": ("", f"{words.source} != {words.pods} {SET_MARK}"),
        "mark-external": ("", SET_MARK),
        "mark-local": ("", f"fib saddr type local {SET_MARK}"),
        "services": (
            "",
            f"{words.service} vmap @service-ips",
            f"{words.local_destination} {PORT} vmap @service-nodeports",
        ),
        "nat-prerouting": (f"{{ type nat hook prerouting {dstnat} }}", "jump services"),
        "nat-output": (f"{{ type nat hook output {dstnat} }}", "jump services"),
        "nat-postrouting": masquerade_chain(
            f"{words.client} @hairpin-connections {SET_MARK}", f"meta mark & {MARK} != {MARK} return"
        ),
    }


def _plan(draft: Draft, site: Site, cluster: Cluster, sums: Mapping[Family, ServerSum]) -> None:
    draft.include_items(device_items(site, sums.values()))
    for made in sums.values():
        draft.rules(site.name, made.ruleset())
    draft.rules(site.name, node_table(sums, cluster, site.local))


MODE = Mode(
    name="ipvs",
    sum=ServerSum,
    plan=_plan,
    shows="ipvsadm -Ln",
    needs=("nftables", "ipvs", "dummy"),
    virtual=True,
    differences=frozenset(
        {"takes turns", "cluster IPs are the node's own", "Local is for everybody", "nobody is on this node"}
    ),
)
