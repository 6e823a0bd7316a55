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

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress, socket_name
from emulab.model.families import Family, family_of, first
from emulab.plan.draft import Draft
from emulab.plan.proxy import filters
from emulab.plan.proxy.filters import TABLE, ChainTexts, Elements, RuleWords
from emulab.plan.proxy.flows import UdpFrontend, merged_flows
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.meanings import translates
from emulab.plan.proxy.modes.mode import Mode, Pieces, Site
from emulab.plan.proxy.modes.portals import (
    PROTOCOLS,
    Portals,
    none_moved,
    portal,
    portals,
    portals_of,
    proxied,
    uses,
)
from emulab.plan.proxy.tables import Part, Table
from emulab.plan.state import Collection, PlannedServer, Ruleset, UdpBackends
from emulab.servers.l4.config import FrontendConfig, L4Config, TargetConfig

_KINDS = ("portals", "shortcuts", "nodeports", "nodeport-shortcuts")
_DSTNAT = "priority -100 ; policy accept ;"

ProcessFrontends = dict[str, FrontendConfig]
"""By the keys of their sockets."""


class IntentSum:
    """The intents of a family, and what the nodes that see them so have of it."""

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self._cluster = cluster
        self._pieces = Pieces(lambda intent: intent)
        self._portals: Portals | None = None
        self._nodes: dict[IPAddress, tuple[NodeSum, Portals, int]] = {}  # the last is the turn of the pieces

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> bool:
        """See `Sum.exchange`."""
        self._pieces.exchange(gone, come)
        was, will = ({p for i in proxied(intents) for p in portals_of(i)} for intents in (gone, come))
        if was != will:
            self._portals = None
        return True

    def copy(self) -> IntentSum:
        """See `Sum.copy`."""
        other = copy(self)
        other._pieces, other._nodes = self._pieces.copy(), {}
        return other

    def portals(self) -> Portals:
        """The portals of all intents."""
        if self._portals is None:
            self._portals = portals(self._pieces)
        return self._portals

    def node(self, address: IPAddress) -> NodeSum:
        """What the node with this address has."""
        given, pieces = self.portals(), self._pieces
        known = self._nodes.get(address)
        if known is None or not self._follow(*known, given):
            known = NodeSum(address, self._cluster), given, 0
            known[0].exchange((), given, tuple(pieces), given)
        self._nodes[address] = known[0], given, pieces.turn
        return known[0]

    def _follow(self, node: NodeSum, before: Portals, turn: int, given: Portals) -> bool:
        """Changes what a node had at a turn. False where it has to be made anew."""
        changed = self._pieces.changed_since(turn)
        if changed is None or not none_moved(before, given):
            return False
        gone = [intent for intents in changed.values() for intent in intents]
        come = [intent for name in changed for intent in self._pieces.of(name)]
        return not changed or node.exchange(gone, before, come, given)

    def __iter__(self) -> Iterator[Intent]:
        return iter(self._pieces)


class NodeSum:
    """The table `kube-proxy` of a node in the family of its address, and the frontends of its process."""

    def __init__(self, address: IPAddress, cluster: Cluster) -> None:
        self._address, self._words = address, RuleWords(cluster, family_of(address))
        collections = filters.FilterCollections(self._words).collections()
        for name in (f"{kind}-{protocol}" for kind in _KINDS for protocol in PROTOCOLS):
            collections[name] = Collection("map", _declaration(name, self._words), {})
        self._table = Table(self._words.ip, TABLE, _chains(self._words), collections, frozenset(), {})
        self.frontends: ProcessFrontends = {}

    def exchange(
        self, gone: Iterable[Intent], before: Portals, come: Iterable[Intent], given: Portals
    ) -> bool:
        """See `Sum.exchange`. `before`, `given`: the portals of those that go, and of those that come."""
        old, new = proxied(gone), proxied(come)
        parts = [self._part(i, before) for i in gone], [self._part(i, given) for i in come]
        if not self._table.exchange(*parts):
            return False
        was, will = self._frontends(old, before), self._frontends(new, given)
        self.frontends = {key: frontend for key, frontend in self.frontends.items() if key not in was}
        self.frontends |= {
            key: was[key] if was.get(key) == frontend else frontend for key, frontend in will.items()
        }
        return True

    def ruleset(self) -> Ruleset:
        """The table as it is now."""
        return self._table.ruleset()

    def _part(self, intent: Intent, given: Portals) -> Part:
        checks = filters.FilterCollections(self._words)
        checks.add(intent)
        found = {name: dict(c.elements) for name, c in checks.collections().items() if c.elements}
        if intent.protocol in PROTOCOLS:
            _lead(intent, given, self._address, found)
        return Part({}, found, {}, {})

    def _frontends(self, intents: Iterable[Intent], given: Portals) -> ProcessFrontends:
        return {
            f"{intent.protocol}/{self._address}/{given[portal(intent, use)]}": _frontend(intent, use)
            for intent in intents
            for use in uses(intent)
        }


def node_sum(intents: Iterable[Intent], address: IPAddress, cluster: Cluster) -> NodeSum:
    """What the node with this address has for these intents."""
    own = tuple(intents)
    made, given = NodeSum(address, cluster), portals(own)
    made.exchange((), given, own, given)
    return made


def server(node: str, frontends: ProcessFrontends) -> PlannedServer:
    """The process of a node."""
    config = L4Config.at(frontends)
    return PlannedServer(
        f"{node}/kube-proxy", "l4", node, config, dict.fromkeys(config.listen, node), ahead=True
    )


def between(old: PlannedServer, new: PlannedServer) -> PlannedServer:
    """The process of a node while its rules change: as it will be, and as it was for what the old rules lead to.

    kube-proxy, too, opened a port before it wrote the rules, and closed it after they were gone.
    """
    config = L4Config.at({**_frontends_of(old), **_frontends_of(new)})
    return replace(new, config=config, listen={**old.listen, **new.listen})


def _frontends_of(process: PlannedServer) -> Mapping[str, FrontendConfig]:
    return process.config.frontends if isinstance(process.config, L4Config) else {}


def udp_flows(intents: Iterable[Intent], given: Portals, address: IPAddress) -> UdpBackends:
    """Where UDP flows may lead: to the process, which itself cares for endpoints that come and go, while there are any.
    Without, a rule refuses what comes, and no flow may go on past it."""
    found: dict[tuple[str, int], frozenset[str]] = {}
    for one in intents:
        if one.protocol != "udp":
            continue
        serving = [use for use in uses(one) if (one.cluster if use == "cluster" else one.local)]
        ends = {use: socket_name(address, given[portal(one, use)]) for use in serving}
        internal = _some(ends, "local" if one.internal_local else "cluster")
        outside = _some(ends, "cluster", *(["local"] if one.external_local else []))
        found |= {(str(a), one.port.port): internal for a in one.cluster_ips}
        found |= {(str(a), one.port.port): outside for a in one.outside_ips}
        if one.node_port:
            found["", one.node_port] = outside
    return UdpBackends(found)


def _some(ends: Mapping[str, str], *uses: str) -> frozenset[str]:
    return frozenset(ends[use] for use in uses if use in ends)


def _lead(intent: Intent, given: Portals, node: IPAddress, maps: dict[str, Elements]) -> None:
    """Leads the traffic of a Service port to its portals."""

    def lead(kind: str, key: str, local: bool) -> None:
        port = given[portal(intent, "local" if local else "cluster")]
        maps.setdefault(f"{kind}-{intent.protocol}", {})[key] = f"{node} . {port}"

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


def _frontend(intent: Intent, use: str) -> FrontendConfig:
    backends: Sequence[ProxiedEndpoint] = intent.cluster if use == "cluster" else intent.local
    targets = tuple(TargetConfig.nameless(str(b.address), b.port) for b in backends)
    return FrontendConfig("roundrobin", targets, affinity=intent.affinity)


def _key(name: str, protocol: str, words: RuleWords) -> str:
    return f"{protocol} dport" if name.startswith("nodeport") else f"{words.destination} . {protocol} dport"


def _declaration(name: str, words: RuleWords) -> str:
    protocol = name.rpartition("-")[2]
    return f"typeof {_key(name, protocol, words)} : {words.destination} . {protocol} dport ;"


def _chains(words: RuleWords) -> ChainTexts:
    def translate(services: str, node_ports: str) -> list[str]:
        rules: list[str] = []
        for kind, condition in ((services, ""), (node_ports, f"{words.local_destination} ")):
            for protocol in PROTOCOLS:
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
    frontends: ProcessFrontends = {}
    flows: list[Mapping[UdpFrontend, frozenset[str]]] = []
    for family, made in sums.items():
        address = first(site.addresses, family)
        assert address is not None, f"{site.name} has no address of {family}"
        own = made.node(address)
        draft.rules(site.name, own.ruleset())
        frontends |= own.frontends
        flows.append(udp_flows(made, made.portals(), address).frontends)
    process = server(site.name, frontends)
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
