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

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from itertools import groupby
from typing import NamedTuple

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import Family
from emulab.plan.draft import Draft
from emulab.plan.endpoints import ServiceName
from emulab.plan.persistent import Persistent
from emulab.plan.proxy.intents import Intent
from emulab.plan.proxy.meanings import drops, masquerades
from emulab.plan.proxy.modes.iptablesport import PortChains, RulesByChain
from emulab.plan.proxy.modes.mode import Mode, Pieces, Site
from emulab.plan.state import Iptables

MARK = "0x4000"  # kube-proxy's --iptables-masquerade-bit 14
LARGE_CLUSTER = 1000
"""Endpoints above which kube-proxy leaves comments out of the chains of Services and endpoints."""

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
        port = PortChains(intent, self._pods, self._terse)
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
