"""kube-proxy's iptables rules: its chains, their names, order and comments, so that a listing reads as in a cluster.

A packet's way in the table nat (pkg/proxy/iptables/proxier.go):

    PREROUTING, OUTPUT   KUBE-SERVICES     by address and port; at its end KUBE-NODEPORTS for local addresses
    external traffic     KUBE-FW-x         source ranges of a load balancer's address, if it has any
                         KUBE-EXT-x        masquerading, and the short-cuts of the policy Local
    any traffic          KUBE-SVC-x        one of all endpoints;  KUBE-SVL-x: one of this node's
                         KUBE-SEP-x        an endpoint: its hairpin, its clients (affinity), DNAT
    POSTROUTING          KUBE-POSTROUTING  masquerades what KUBE-MARK-MASQ marked

The table filter refuses what nobody serves (KUBE-SERVICES for cluster IPs, KUBE-EXTERNAL-SERVICES) and what
the source ranges leave over (KUBE-PROXY-FIREWALL). kube-proxy runs as with `--cluster-cidr` (pods are
known by their address) and `--iptables-localhost-nodeports=false`.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from hashlib import sha256
from itertools import groupby
from typing import NamedTuple

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import socket_name
from emulab.model.families import Family
from emulab.plan.draft import Draft
from emulab.plan.endpoints import ServiceName
from emulab.plan.persistent import Persistent
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.meanings import REFUSALS, drops, masquerades, shuts_out, translates
from emulab.plan.proxy.modes.mode import Mode, Pieces, Site
from emulab.plan.state import Iptables

MARK = "0x4000"  # kube-proxy's --iptables-masquerade-bit 14
LARGE_CLUSTER = 1000
"""Endpoints above which kube-proxy leaves comments out of the chains of Services and endpoints."""

RulesByChain = dict[str, list[str]]
TableChains = dict[str, tuple[str, ...]]

_NEW = "-m conntrack --ctstate NEW "
_PORTALS = "kubernetes service portals"
_EXTERNAL_PORTALS = ("KUBE-EXTERNAL-SERVICES", "kubernetes externally-visible service portals", _NEW)
_FIREWALL = ("KUBE-PROXY-FIREWALL", "kubernetes load balancer firewall", _NEW)
_FILTERED = ("KUBE-SERVICES", _PORTALS, _NEW)
_JUMPS: Mapping[str, Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "filter": {
        "INPUT": (
            _FIREWALL,
            ("KUBE-NODEPORTS", "kubernetes health check service ports", ""),
            _EXTERNAL_PORTALS,
        ),
        "FORWARD": (
            _FIREWALL,
            ("KUBE-FORWARD", "kubernetes forwarding rules", ""),
            _FILTERED,
            _EXTERNAL_PORTALS,
        ),
        "OUTPUT": (_FIREWALL, _FILTERED),
    },
    "nat": {
        "PREROUTING": (("KUBE-SERVICES", _PORTALS, ""),),
        "OUTPUT": (("KUBE-SERVICES", _PORTALS, ""),),
        "POSTROUTING": (("KUBE-POSTROUTING", "kubernetes postrouting rules", ""),),
    },
}
"""By table and built-in chain: where to, comment, condition. kube-proxy prepends them one by one, so the last
of its list stands first."""

_FILTER_CHAINS = (
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FORWARD",
    "KUBE-NODEPORTS",
    "KUBE-PROXY-FIREWALL",
)
_FORWARD = (
    drops("-m conntrack --ctstate INVALID -j DROP"),
    f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {MARK}/{MARK} -j ACCEPT',
    '-m comment --comment "kubernetes forwarding conntrack rule"'
    " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
)
_POSTROUTING = (
    f"-m mark ! --mark {MARK}/{MARK} -j RETURN",
    f"-j MARK --xor-mark {MARK}",
    masquerades(
        '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully'
    ),
)
_NODE_PORTS = (
    '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"'
    " -m addrtype --dst-type LOCAL ! -d {loopback} -j KUBE-NODEPORTS"
)


class _Piece(NamedTuple):
    """What a Service port has in chains of all, of both tables, and its own chains of the table nat."""

    filtered: RulesByChain
    nat: RulesByChain
    own: Mapping[str, tuple[str, ...]]


class ChainSum:
    """The chains of a family. kube-proxy takes Services in no order; here it is that of their names."""

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self._pods = next(map(str, cluster.pods_of(family)), "")
        self._loopback = family.loopback_network
        self._endpoints, self._terse = 0, False
        self._pieces = Pieces(self._piece)
        self._made: Iptables | None = None
        self._turn = 0  # of the pieces, when it was made

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> bool:
        """See `Sum.exchange`."""
        self._pieces.exchange(gone, come)
        self._endpoints += sum(len(i.reachable) for i in come) - sum(len(i.reachable) for i in gone)
        return True

    def copy(self) -> ChainSum:
        """See `Sum.copy`."""
        other = copy(self)
        other._pieces = self._pieces.copy()
        other._pieces.make = other._piece
        return other

    def _piece(self, intent: Intent) -> _Piece:
        port = _Port(intent, self._pods, self._terse)
        filtered: RulesByChain = {}
        nat: RulesByChain = {}
        port.refuse(filtered)
        if not intent.has_any:
            return _Piece(filtered, nat, {})
        port.lead(nat)
        return _Piece(filtered, nat, {name: tuple(lines) for name, lines in port.chains().items()})

    def tables(self) -> Iptables:
        """The chains as they are now."""
        if self._terse != (self._endpoints > LARGE_CLUSTER):
            self._terse = not self._terse
            self._pieces.forget()
        changed = self._pieces.changed_since(self._turn)
        if self._made is None or changed is None:
            own = {name: lines for piece in self._pieces for name, lines in piece.own.items()}
            tables = {"filter": Persistent(self._filtered()), "nat": Persistent(self._nat() | own)}
            self._made = Iptables(tables)
        elif changed:
            self._made = self._follow(self._made, changed)
        self._turn = self._pieces.turn
        return self._made

    def _follow(self, made: Iptables, changed: Mapping[ServiceName, Sequence[_Piece]]) -> Iptables:
        """The chains, made of those that were there before some Services changed."""
        old: dict[str, tuple[str, ...]] = {}
        new: dict[str, tuple[str, ...]] = {}
        filtered = nat = False  # whether the chains of all of them change
        for name, before in changed.items():
            now = self._pieces.of(name)
            filtered = filtered or [p.filtered for p in before] != [p.filtered for p in now]
            nat = nat or [p.nat for p in before] != [p.nat for p in now]
            old.update(pair for piece in before for pair in piece.own.items())
            new.update(pair for piece in now for pair in piece.own.items())
        removed = [name for name in old if name not in new]
        added = {name: lines for name, lines in new.items() if old.get(name) != lines}
        if nat:
            added |= self._nat()
        return Iptables(
            {
                "filter": _with(made.tables["filter"], [], self._filtered() if filtered else {}),
                "nat": _with(made.tables["nat"], removed, added),
            }
        )

    def _filtered(self) -> TableChains:
        """The chains of the table filter, of which none is one Service's alone."""
        chains = _joined(_FILTER_CHAINS, (piece.filtered for piece in self._pieces))
        chains["KUBE-FORWARD"] += _FORWARD
        return _table("filter", chains)

    def _nat(self) -> TableChains:
        """The chains of the table nat that aren't one Service's alone."""
        chains = _joined(("KUBE-SERVICES", "KUBE-NODEPORTS"), (piece.nat for piece in self._pieces))
        chains["KUBE-SERVICES"].append(_NODE_PORTS.format(loopback=self._loopback))
        chains["KUBE-POSTROUTING"] = [*_POSTROUTING]
        chains["KUBE-MARK-MASQ"] = [f"-j MARK --or-mark {MARK}"]
        return _table("nat", chains)


def _joined(names: Iterable[str], parts: Iterable[RulesByChain]) -> RulesByChain:
    """Chains of what each Service port has in them. There may be 10,000, most with one rule in one chain."""
    chains: RulesByChain = {name: [] for name in names}
    for part in parts:
        for name, lines in part.items():
            chains[name] += lines
    return chains


def _with(
    chains: Mapping[str, tuple[str, ...]], removed: list[str], added: TableChains
) -> Mapping[str, tuple[str, ...]]:
    """A table of chains without some and with others."""
    known = chains if isinstance(chains, Persistent) else Persistent(chains)
    fresh = {name: lines for name, lines in added.items() if chains.get(name) != lines}
    return known.changed(removed, fresh) if removed or fresh else known


def rules(intents: Sequence[Intent], cluster: Cluster, family: Family) -> Iptables:
    """The chains of a family on a node with these intents."""
    made = ChainSum(cluster, family)
    for _, own in groupby(intents, key=lambda i: (i.namespace, i.name)):
        made.exchange((), list(own))
    return made.tables()


def _table(table: str, chains: RulesByChain) -> TableChains:
    """A table's chains with what leads to them from the built-in ones."""
    jumps = {
        hook: tuple(f'{when}-m comment --comment "{comment}" -j {to}' for to, comment, when in members)
        for hook, members in _JUMPS[table].items()
    }
    return jumps | {name: tuple(lines) for name, lines in chains.items()}


def chain_name(kind: str, title: str, protocol: str, endpoint: str = "") -> str:
    """kube-proxy's name of a chain: SVC, SVL, EXT, FW or SEP and a hash, for 28 characters is all it may have."""
    digest = sha256(f"{title}{protocol}{endpoint}".encode()).digest()
    return f"KUBE-{kind}-{b32encode(digest[:10]).decode()}"


def probability(number: int) -> str:
    """One in `number`, as kube-proxy writes it; iptables-save shows the nearest part of 2^31."""
    return f"{1 / number:.10f}"


class _Port:
    """The rules of one Service port."""

    def __init__(self, intent: Intent, pods: str, terse: bool) -> None:
        self._i = intent
        self._pods = pods
        self._terse = terse
        self._title = intent.title
        self._protocol = intent.protocol
        self._match = f"-m {self._protocol} -p {self._protocol}"
        self._svc, self._svl, self._ext, self._fw = (
            chain_name(kind, self._title, self._protocol) for kind in ("SVC", "SVL", "EXT", "FW")
        )
        self._seps = {b: chain_name("SEP", self._title, self._protocol, _target(b)) for b in intent.reachable}
        self._guarded = bool(intent.has_any and intent.balancer_ips and intent.source_ranges)

    def _to(self, address: object) -> str:
        return f"{self._match} -d {address} --dport {self._i.port.port}"

    def refuse(self, chains: RulesByChain) -> None:
        """Adds to the table filter what refuses traffic."""
        i, title = self._i, self._title
        missing = f'-m comment --comment "{title} has no {"local " if i.has_any else ""}endpoints"'
        external: list[str] = []
        if i.internal_verdict:
            refuse = REFUSALS[i.internal_verdict]
            rule = f"{missing} {self._to(i.cluster_ips[0])} -j {i.internal_verdict.upper()}"
            chains["KUBE-SERVICES"] = [refuse(rule)]
        if i.external_verdict:
            refuse, verdict = REFUSALS[i.external_verdict], f"-j {i.external_verdict.upper()}"
            external += [refuse(f"{missing} {self._to(ip)} {verdict}") for ip in i.outside_ips]
            if i.node_port:
                local = f"-m addrtype --dst-type LOCAL {self._match} --dport {i.node_port}"
                external.append(refuse(f"{missing} {local} {verdict}"))
        if external:
            chains["KUBE-EXTERNAL-SERVICES"] = external
        if self._guarded:
            comment = f'-m comment --comment "{title} traffic not accepted by {self._fw}"'
            chains["KUBE-PROXY-FIREWALL"] = [
                shuts_out(f"{comment} {self._to(ip)} -j DROP") for ip in i.balancer_ips
            ]
        if i.health_check_port:
            comment = f'-m comment --comment "{title} health check node port"'
            chains["KUBE-NODEPORTS"] = [f"{comment} -m tcp -p tcp --dport {i.health_check_port} -j ACCEPT"]

    def lead(self, chains: RulesByChain) -> None:
        """Adds to the table nat what leads to the Service's chains."""
        i, services = self._i, list[str]()

        def capture(what: str, address: object, chain: str) -> None:
            services.append(f'-m comment --comment "{self._title} {what}" {self._to(address)} -j {chain}')

        if i.internal:
            capture("cluster IP", i.cluster_ips[0], self._internal)
        for ip in i.external_ips:
            capture("external IP", ip, self._ext)
        for ip in i.balancer_ips:
            capture("loadbalancer IP", ip, self._fw if self._guarded else self._ext)
        if i.node_port:
            # Not subject to source ranges, in kube-proxy neither.
            match = f"{self._match} --dport {i.node_port}"
            chains["KUBE-NODEPORTS"] = [f"-m comment --comment {self._title} {match} -j {self._ext}"]
        if services:
            chains["KUBE-SERVICES"] = services

    @property
    def _internal(self) -> str:
        return self._svl if self._i.internal_local else self._svc

    def chains(self) -> RulesByChain:
        """The Service's own chains of the table nat."""
        i = self._i
        found: RulesByChain = {}
        if i.externally_accessible:
            found[self._ext] = self._external()
        if self._guarded:
            found[self._fw] = self._firewall()
        choices = ((self._svc, i.cluster, False), (self._svl, i.local, True))
        for chain, backends, local in choices:
            if not backends:
                continue
            masquerade = self._cluster_ip_masquerade() if local == i.internal_local else []
            found[chain] = masquerade + self._choice(backends)
        for backend, chain in self._seps.items():
            found[chain] = self._endpoint(backend, chain)
        return found

    def _cluster_ip_masquerade(self) -> list[str]:
        """A cluster IP works from outside the pod network too, whose answers must come back through this node."""
        if not self._pods:
            return []
        match = f'-m comment --comment "{self._title} cluster IP" {self._to(self._i.cluster_ips[0])}'
        return [f"{match} ! -s {self._pods} -j KUBE-MARK-MASQ"]

    def _external(self) -> list[str]:
        """Policy Cluster may cross nodes, so the source can't be kept. With Local it is, except for the cluster's
        own traffic: that goes to any endpoint, as if it had left and come back by a balancer (KEP-1669)."""

        def comment(text: str) -> str:
            return f'-m comment --comment "{text} for {self._title} external destinations"'

        if not self._i.external_local:
            return [f"{comment('masquerade traffic')} -j KUBE-MARK-MASQ", f"-j {self._svc}"]
        node = "-m addrtype --src-type LOCAL"
        lines = [
            f"{comment('masquerade LOCAL traffic')} {node} -j KUBE-MARK-MASQ",
            f"{comment('route LOCAL traffic')} {node} -j {self._svc}",
        ]
        if self._pods:
            lines.insert(0, f"{comment('pod traffic')} -s {self._pods} -j {self._svc}")
        return [*lines, f"-j {self._svl}"] if self._i.local else lines

    def _firewall(self) -> list[str]:
        i = self._i
        comment = f'-m comment --comment "{self._title} loadbalancer IP"'
        lines = [f"{comment} -s {r} -j {self._ext}" for r in i.source_ranges]
        rest = f"other traffic to {self._title} will be dropped by KUBE-PROXY-FIREWALL"
        return [*lines, f'-m comment --comment "{rest}"']

    def _choice(self, backends: Sequence[ProxiedEndpoint]) -> list[str]:
        """Clients that are known to an endpoint first; then one in n, one in n - 1 of the others, …, the last."""
        lines = []
        if self._i.affinity:
            for b in backends:
                known = f"-m recent --name {self._seps[b]} --rcheck --seconds {self._i.affinity} --reap"
                lines.append(f"{self._comment(b)}{known} -j {self._seps[b]}")
        for index, b in enumerate(backends):
            left = len(backends) - index
            chance = f"-m statistic --mode random --probability {probability(left)} " if left > 1 else ""
            lines.append(f"{self._comment(b)}{chance}-j {self._seps[b]}")
        return lines

    def _comment(self, backend: ProxiedEndpoint) -> str:
        return "" if self._terse else f'-m comment --comment "{self._title} -> {_target(backend)}" '

    def _endpoint(self, backend: ProxiedEndpoint, chain: str) -> list[str]:
        comment = "" if self._terse else f"-m comment --comment {self._title} "
        seen = f"-m recent --name {chain} --set " if self._i.affinity else ""
        return [
            f"{comment}-s {backend.address} -j KUBE-MARK-MASQ",
            translates(f"{comment}{seen}{self._match} -j DNAT --to-destination {_target(backend)}"),
        ]


def _target(backend: ProxiedEndpoint) -> str:
    return socket_name(*backend.target)


def _plan(draft: Draft, site: Site, _: Cluster, sums: Mapping[Family, ChainSum]) -> None:
    for family, made in sums.items():
        draft.rules(site.name, made.tables(), family)


MODE = Mode(
    name="iptables",
    sum=ChainSum,
    plan=_plan,
    shows="{iptables}-save -t nat",
    needs=("iptables",),
    differences=frozenset({"what a node sends outside", "how TCP is refused"}),
)
