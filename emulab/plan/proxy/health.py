"""kube-proxy's own HTTP servers on every node: mode and metrics, its health, that of Services. Pure.

One process has the sockets of all nodes. The first is on loopback and so has the same address everywhere; the
others are on all addresses of a node, as kube-proxy has them by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress
from emulab.model.families import Family
from emulab.plan.draft import Draft
from emulab.plan.endpoints import ServiceName
from emulab.plan.persistent import change_between
from emulab.plan.proxy.intents import Candidates
from emulab.plan.proxy.modes.mode import Site
from emulab.plan.proxy.ports import Changed
from emulab.plan.state import Iptables, PlannedServer
from emulab.servers.kubeproxy.config import KubeProxyConfig, NodeConfig, SiteConfig

NAME = "kube-proxy"
METRICS_PORT, HEALTHZ_PORT = 10249, 10256


class HealthSum:
    """What the server that speaks for the proxies of all nodes has to know of Services."""

    def __init__(self, cluster: Cluster, sites: Sequence[Site]) -> None:
        self._cluster, self._sites = cluster, sites
        self._checked: dict[ServiceName, list[Candidates]] = {}
        self._counted: dict[tuple[str, Family], _Counted] = {}

    def exchange(self, changes: Iterable[Changed]) -> None:
        """Puts what Services are now in the place of what they were."""
        for change in changes:
            for c in change.was:
                self._checked.pop((c.service.namespace, c.service.name), None)
            own = [c for c in change.will if c.service.health_check_node_port]
            if own:
                self._checked[own[0].service.namespace, own[0].service.name] = own

    def plan(self, draft: Draft, no_local: Mapping[tuple[str, Family], Mapping[str, int]]) -> None:
        """Adds the server to a draft that has the proxies' rules. `no_local`: by node, family and policy, how many
        Service ports have endpoints, but none that the policy lets the node use."""
        checked = [c for _, own in sorted(self._checked.items()) for c in own]
        ports = {f"{c.service.namespace}/{c.service.name}": c.service.health_check_node_port for c in checked}
        sockets: dict[str, SiteConfig] = {}
        listen: dict[str, str] = {}
        told: dict[str, NodeConfig] = {}
        # kubeadm has all of kube-proxy's servers in the primary family (--bind-address), all but one on any address.
        loopback = self._cluster.families[0].loopback
        for node, addresses, _ in self._sites:
            own = {f"tcp/{loopback}/{METRICS_PORT}@{node}": SiteConfig(node, "metrics")}
            for address in addresses:
                own[f"tcp/{address}/{HEALTHZ_PORT}"] = SiteConfig(node, "healthz")
                own |= {f"tcp/{address}/{p}": SiteConfig(node, "service", name) for name, p in ports.items()}
            sockets |= own
            listen |= dict.fromkeys(own, node)
            counted = self._counts(node, draft)
            ready = {f"{ns}/{name}": n for (ns, name), n in local_ready(checked, node).items() if n}
            nothing = {
                family.name: policies
                for family in self._cluster.families
                if (policies := {policy: n for policy, n in no_local[node, family].items() if n})
            }
            told[node] = NodeConfig(nothing, counted, ready)
        families = tuple(family.name for family in self._cluster.families)
        config = KubeProxyConfig(tuple(listen), self._cluster.proxy_mode, sockets, told, families)
        everywhere = frozenset(key for key in listen if "@" not in key)
        draft.servers[NAME] = PlannedServer(NAME, "kube-proxy", "", config, listen, everywhere)

    def _counts(self, node: str, draft: Draft) -> dict[str, Mapping[str, int]]:
        """The numbers of a node's rules, by family and table of iptables."""
        found = {f: draft.rulesets.get((node, f.iptables)) for f in self._cluster.families}
        return {f.name: self._count((node, f), r) for f, r in found.items() if isinstance(r, Iptables)}

    def _count(self, node: tuple[str, Family], rules: Iptables) -> Mapping[str, int]:
        known = self._counted.get(node)
        if known is None or known.rules is not rules:
            shared = next((one for one in self._counted.values() if one.rules is rules), None)
            known = self._counted[node] = shared or _counts(known, rules)
        return known.counts


class _Counted(NamedTuple):
    """How many rules each table of iptables has."""

    rules: Iptables
    counts: Mapping[str, int]


def _counts(known: _Counted | None, rules: Iptables) -> _Counted:
    """Counts what differs from what is known. Nodes share their rules, and of most tables little changes."""
    before = known.rules.tables if known else {}
    counts = {}
    for table, chains in rules.tables.items():
        old = before.get(table, {})
        change = change_between(old, chains)
        gone = sum(len(old[chain]) for chain in change.removed)
        counts[table] = (
            (known.counts.get(table, 0) if known else 0) + sum(map(len, change.added.values())) - gone
        )
    return _Counted(rules, counts)


def local_ready(checked: Iterable[Candidates], node: str) -> Mapping[ServiceName, int]:
    """How many endpoints of each Service are ready on a node: what its health check node port answers.

    One that has an address of each family is one.
    """
    members: dict[ServiceName, dict[Family, set[IPAddress]]] = {}
    for c in checked:
        own = members.setdefault((c.service.namespace, c.service.name), {}).setdefault(c.family, set())
        own.update(b.address for b in c.backends if b.ready and b.node == node)
    return {key: max(map(len, by_family.values())) for key, by_family in members.items()}
