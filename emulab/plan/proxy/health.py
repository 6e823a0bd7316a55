"""kube-proxy's own HTTP servers on every node: mode and metrics, its health, that of Services. Pure.

One process has the sockets of all nodes. The first is on loopback and so has the same address everywhere; the
others are on all addresses of a node, as kube-proxy has them by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress
from emulab.model.families import Family
from emulab.plan.draft import Draft
from emulab.plan.endpoints import ServiceName
from emulab.plan.proxy.intents import Candidates
from emulab.plan.proxy.modes.mode import Site
from emulab.plan.proxy.ports import Changed
from emulab.plan.state import Iptables, Server
from emulab.servers.kubeproxy.config import KubeProxyConfig, NodeConfig, SiteConfig

NAME = "kube-proxy"
METRICS_PORT, HEALTHZ_PORT = 10249, 10256


class HealthSum:
    """What the server that speaks for the proxies of all nodes has to know of Services."""

    def __init__(self, cluster: Cluster, sites: Sequence[Site]) -> None:
        self._cluster, self._sites = cluster, sites
        self._checked: dict[ServiceName, list[Candidates]] = {}

    def exchange(self, changes: Iterable[Changed]) -> None:
        """Puts what Services are now in the place of what they were."""
        for change in changes:
            for c in change.was:
                self._checked.pop((c.service.namespace, c.service.name), None)
            own = [c for c in change.will if c.service.health_check_node_port]
            if own:
                self._checked[own[0].service.namespace, own[0].service.name] = own

    def plan(self, draft: Draft, no_local: Mapping[str, Mapping[str, int]]) -> None:
        """Adds the server to a draft that has the proxies' rules. `no_local`: by node and policy, how many Service
        ports have endpoints, but none that the policy lets the node use."""
        checked = [c for _, own in sorted(self._checked.items()) for c in own]
        ports = {f"{c.service.namespace}/{c.service.name}": c.service.health_check_node_port for c in checked}
        sockets: dict[str, SiteConfig] = {}
        listen: dict[str, str] = {}
        told: dict[str, NodeConfig] = {}
        counted: dict[int, Mapping[str, int]] = {}  # nodes share their rules
        # kubeadm has all of kube-proxy's servers in the primary family (--bind-address), all but one on any address.
        loopback = self._cluster.families[0].loopback
        for node, addresses, _ in self._sites:
            own = {f"tcp/{loopback}/{METRICS_PORT}@{node}": SiteConfig(node, "metrics")}
            for address in addresses:
                own[f"tcp/{address}/{HEALTHZ_PORT}"] = SiteConfig(node, "healthz")
                own |= {f"tcp/{address}/{p}": SiteConfig(node, "service", name) for name, p in ports.items()}
            sockets |= own
            listen |= dict.fromkeys(own, node)
            rules = draft.rulesets.get((node, self._cluster.families[0].iptables))
            if id(rules) not in counted:
                counted[id(rules)] = _counted(rules)
            ready = {f"{ns}/{name}": n for (ns, name), n in local_ready(checked, node).items() if n}
            nothing = {policy: n for policy, n in no_local[node].items() if n}
            told[node] = NodeConfig(nothing, counted[id(rules)], ready)
        config = KubeProxyConfig(tuple(listen), self._cluster.proxy_mode, sockets, told)
        everywhere = frozenset(key for key in listen if "@" not in key)
        draft.servers[NAME] = Server(NAME, "kube-proxy", "", config, listen, everywhere)


def local_ready(checked: Iterable[Candidates], node: str) -> Mapping[ServiceName, int]:
    """How many endpoints of each Service are ready on a node: what its health check node port answers.

    One that has an address of each family is one.
    """
    members: dict[ServiceName, dict[Family, set[IPAddress]]] = {}
    for c in checked:
        own = members.setdefault((c.service.namespace, c.service.name), {}).setdefault(c.family, set())
        own.update(b.address for b in c.backends if b.ready and b.node == node)
    return {key: max(map(len, by_family.values())) for key, by_family in members.items()}


def _counted(rules: object) -> dict[str, int]:
    """How many rules each table of iptables has."""
    if not isinstance(rules, Iptables):
        return {}
    return {table: sum(map(len, chains.values())) for table, chains in rules.tables.items()}
