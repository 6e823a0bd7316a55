"""kube-proxy's historic userspace mode: a process a node that accepts every connection itself. Pure.

For each Service port and kind of traffic the process listens at a port of the node, and rules of the kernel lead
there whatever goes to the Service's addresses:

    prerouting, output (dstnat)   services: what pods and the node itself send to external addresses of a Service with
                                  the policy Local takes a short-cut (maps `shortcuts-P`, `nodeport-shortcuts-P`, P
                                  being the protocol); everything else is in `portals-P` and `nodeports-P`
    input, forward, output        `filters`: what nobody serves, and source ranges

kube-proxy wrote REDIRECT for packets that came from containers and DNAT to the node's address for those of the node
itself. REDIRECT takes the address of the interface that a packet came by (nf_nat_redirect.c), and a pod's link has
none on the node's side, so the kernel would drop it: here both are DNAT to the node's address, and the process
listens at that address alone.

The modes differ as they did: pods see their node's proxy as the client, whatever the policies say; endpoints are
taken in turn, not at random; and a UDP flow is the process's, which ends it 30 s after its last datagram (kube-proxy's
--udp-timeout was 250 ms, which lost every slower answer) or when its endpoint is gone. Not as it was: without an
endpoint traffic is refused by a rule instead of accepted and closed, as in the other modes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import NamedTuple

from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress, socket_name, spread
from emulab.model.families import Family, family_of, first
from emulab.plan.draft import Draft
from emulab.plan.proxy import filters
from emulab.plan.proxy.filters import TABLE, ChainTexts, Elements, RuleWords
from emulab.plan.proxy.flows import UdpFrontend, merged_flows
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.meanings import translates
from emulab.plan.proxy.modes.mode import Mode, Pieces, Site
from emulab.plan.state import Collection, PlannedServer, Ruleset, UdpBackends
from emulab.servers.l4.config import FrontendConfig, L4Config, TargetConfig

PORTS = range(61000, 65536)
"""The ports of the process: above those that the kernel gives to connections (ip_local_port_range, 32768 to 60999)."""

_PROTOCOLS = ("tcp", "udp")
_KINDS = ("portals", "shortcuts", "nodeports", "nodeport-shortcuts")
_DSTNAT = "priority -100 ; policy accept ;"


class Portal(NamedTuple):
    """One listening socket of the process: a Service port, and which of its endpoints are meant."""

    protocol: str
    title: str  # kube-proxy's name of the Service port
    use: str  # cluster | local: the policy


Portals = Mapping[Portal, int]


def portals(intents: Iterable[Intent]) -> Portals:
    """The port of every portal, hashed from its name, the next free one where that is taken. Raises UserError."""
    wanted = sorted(_portal(one, use) for one in _proxied(intents) for use in _uses(one))
    found: dict[Portal, int] = {}
    used: set[tuple[str, int]] = set()
    for portal in wanted:
        first, size = spread("/".join(portal), len(PORTS)), len(PORTS)
        ports = (PORTS[(first + step) % size] for step in range(size))
        port = next((p for p in ports if (portal.protocol, p) not in used), 0)
        if not port:
            raise UserError(
                f"Cluster spec.proxy.mode: userspace has room for {size} {portal.protocol.upper()} Service ports"
                " a node, and there are more; take another mode"
            )
        used.add((portal.protocol, port))
        found[portal] = port
    return found


class IntentSum:
    """The intents of a family: the ports of their portals depend on one another, and so does all else."""

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self._pieces = Pieces(lambda one: one)
        self._portals: Portals | None = None

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> bool:
        """See `Sum.exchange`."""
        self._pieces.exchange(gone, come)
        self._portals = None
        return True

    def copy(self) -> IntentSum:
        """See `Sum.copy`."""
        other = copy(self)
        other._pieces = self._pieces.copy()
        return other

    def portals(self) -> Portals:
        """The portals of all intents."""
        if self._portals is None:
            self._portals = portals(self._pieces)
        return self._portals

    def __iter__(self) -> Iterator[Intent]:
        return iter(self._pieces)


def rules(intents: Iterable[Intent], given: Portals, address: IPAddress, cluster: Cluster) -> Ruleset:
    """The table `kube-proxy` of the family of this address on the node that has it."""
    words = RuleWords(cluster, family_of(address))
    checks = filters.FilterCollections(words)
    maps: dict[str, Elements] = {f"{kind}-{protocol}": {} for kind in _KINDS for protocol in _PROTOCOLS}
    for one in intents:
        checks.add(one)
    for one in _proxied(intents):
        _lead(one, given, address, maps)
    declared = {name: Collection("map", _declaration(name, words), e) for name, e in maps.items()}
    return Ruleset(words.ip, TABLE, _chains(words), {**checks.collections(), **declared})


def server(node: str, families: Iterable[tuple[Iterable[Intent], Portals, IPAddress]]) -> PlannedServer:
    """The process of a node; of each family the intents, their portals and the node's address."""
    config = L4Config.at(
        _frontend(f"{one.protocol}/{address}/{given[_portal(one, use)]}", one, use)
        for intents, given, address in families
        for one in _proxied(intents)
        for use in _uses(one)
    )
    listen = dict.fromkeys(config.listen, node)
    return PlannedServer(f"{node}/kube-proxy", "l4", node, config, listen, ahead=True)


def between(old: PlannedServer, new: PlannedServer) -> PlannedServer:
    """The process of a node while its rules change: as it will be, and as it was for what the old rules lead to.

    kube-proxy, too, opened a port before it wrote the rules, and closed it after they were gone.
    """
    kept = [f for f in _frontends(old) if f.socket not in new.listen]
    config = L4Config.at([*_frontends(new), *kept])
    return replace(new, config=config, listen={**old.listen, **new.listen})


def _frontends(process: PlannedServer) -> tuple[FrontendConfig, ...]:
    return process.config.frontends if isinstance(process.config, L4Config) else ()


def udp_flows(intents: Iterable[Intent], given: Portals, address: IPAddress) -> UdpBackends:
    """Where UDP flows may lead: to the process, which itself cares for endpoints that come and go, while there are any.
    Without, a rule refuses what comes, and no flow may go on past it."""
    found: dict[tuple[str, int], frozenset[str]] = {}
    for one in _proxied(intents):
        if one.protocol != "udp":
            continue
        serving = [use for use in _uses(one) if (one.cluster if use == "cluster" else one.local)]
        ends = {use: socket_name(address, given[_portal(one, use)]) for use in serving}
        internal = _some(ends, "local" if one.internal_local else "cluster")
        outside = _some(ends, "cluster", *(["local"] if one.external_local else []))
        found |= {(str(a), one.port.port): internal for a in one.cluster_ips}
        found |= {(str(a), one.port.port): outside for a in one.outside_ips}
        if one.node_port:
            found["", one.node_port] = outside
    return UdpBackends(found)


def _some(ends: Mapping[str, str], *uses: str) -> frozenset[str]:
    return frozenset(ends[use] for use in uses if use in ends)


def _proxied(intents: Iterable[Intent]) -> list[Intent]:
    """The process knew no SCTP."""
    return [one for one in intents if one.protocol in _PROTOCOLS]


def _portal(intent: Intent, use: str) -> Portal:
    return Portal(intent.protocol, intent.title, use)


def _uses(intent: Intent) -> list[str]:
    """The policies that some traffic of a Service port follows, whether or not anybody serves it now."""
    outside = intent.externally_accessible
    cluster = not intent.internal_local or outside
    local = intent.internal_local or (intent.external_local and outside)
    return [use for use, wanted in (("cluster", cluster), ("local", local)) if wanted]


def _lead(intent: Intent, given: Portals, node: IPAddress, maps: Mapping[str, Elements]) -> None:
    """Leads the traffic of a Service port to its portals."""

    def lead(kind: str, key: str, local: bool) -> None:
        port = given[_portal(intent, "local" if local else "cluster")]
        maps[f"{kind}-{intent.protocol}"][key] = f"{node} . {port}"

    service = f" . {intent.port.port}"
    if intent.internal:
        for address in intent.cluster_ips:
            lead("portals", f"{address}{service}", intent.internal_local)
    outside = [("", f"{a}{service}") for a in intent.outside_ips]
    if intent.node_port:
        outside.append(("nodeport", str(intent.node_port)))
    for prefix, key in outside:
        if intent.external:
            lead("nodeports" if prefix else "portals", key, intent.external_local)
        if intent.external_local and intent.cluster:
            lead("nodeport-shortcuts" if prefix else "shortcuts", key, False)


def _frontend(socket: str, intent: Intent, use: str) -> FrontendConfig:
    backends: Sequence[ProxiedEndpoint] = intent.cluster if use == "cluster" else intent.local
    targets = tuple(TargetConfig.nameless(str(b.address), b.port) for b in backends)
    return FrontendConfig(socket, "roundrobin", targets, affinity=intent.affinity)


def _key(name: str, protocol: str, words: RuleWords) -> str:
    return f"{protocol} dport" if name.startswith("nodeport") else f"{words.destination} . {protocol} dport"


def _declaration(name: str, words: RuleWords) -> str:
    protocol = name.rpartition("-")[2]
    return f"typeof {_key(name, protocol, words)} : {words.destination} . {protocol} dport ;"


def _chains(words: RuleWords) -> ChainTexts:
    def translate(services: str, node_ports: str) -> list[str]:
        rules: list[str] = []
        for kind, condition in ((services, ""), (node_ports, f"{words.local_destination} ")):
            for protocol in _PROTOCOLS:
                name = f"{kind}-{protocol}"
                to = f"dnat {words.ip} to {_key(name, protocol, words)} map @{name}"
                rules.append(translates(f"{condition}meta l4proto {protocol} {to}"))
        return rules

    return {
        **filters.filter_chains(words),
        "shortcuts": ("", *translate("shortcuts", "nodeport-shortcuts")),
        "services": (
            "",
            f"{words.source} {words.pods} jump shortcuts",
            "fib saddr type local jump shortcuts",
            *translate("portals", "nodeports"),
        ),
        "nat-prerouting": (f"{{ type nat hook prerouting {_DSTNAT} }}", "jump services"),
        "nat-output": (f"{{ type nat hook output {_DSTNAT} }}", "jump services"),
    }


def _plan(draft: Draft, site: Site, cluster: Cluster, sums: Mapping[Family, IntentSum]) -> UdpBackends:
    parts: list[tuple[Sequence[Intent], Portals, IPAddress]] = []
    flows: list[Mapping[UdpFrontend, frozenset[str]]] = []
    for family, made in sums.items():
        address = first(site.addresses, family)
        assert address is not None, f"{site.name} has no address of {family}"
        own, given = list(made), made.portals()
        draft.rules(site.name, rules(own, given, address, cluster))
        parts.append((own, given, address))
        flows.append(udp_flows(own, given, address).frontends)
    process = server(site.name, parts)
    draft.servers[process.name] = process
    return merged_flows(flows)


MODE = Mode(
    name="userspace",
    sum=IntentSum,
    plan=_plan,
    shows="nft list table {ip} kube-proxy",
    needs=("nftables",),
    differences=frozenset(
        {
            "a process in between",
            "takes turns",
            "another endpoint is tried",
            "accepted before anybody serves",
        }
    ),
)
