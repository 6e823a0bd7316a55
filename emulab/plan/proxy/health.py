"""kube-proxy's own HTTP servers on every node: mode and metrics, its health, that of Services. Pure.

One process has the sockets of all nodes. The first is on loopback and so has the same address everywhere; the
others are on all addresses of a node, as kube-proxy has them by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress
from emulab.model.families import Family
from emulab.plan.draft import Draft
from emulab.plan.proxy.intents import Candidates, Intent, local_ready
from emulab.plan.state import Iptables, Server
from emulab.servers.kubeproxy.config import KubeProxyConfig, NodeConfig, SiteConfig

NAME = "kube-proxy"
METRICS_PORT, HEALTHZ_PORT = 10249, 10256


def plan_health(
    draft: Draft,
    cluster: Cluster,
    nodes: Mapping[str, Sequence[IPAddress]],
    services: Iterable[Candidates],
    intents: Mapping[Family, Mapping[str, Sequence[Intent]]],
) -> None:
    """The server that speaks for the proxies of `nodes` (by name, with their addresses)."""
    checked = [c for c in services if c.service.health_check_node_port]
    ports = {f"{c.service.namespace}/{c.service.name}": c.service.health_check_node_port for c in checked}
    sockets: dict[str, SiteConfig] = {}
    listen: dict[str, str] = {}
    told: dict[str, NodeConfig] = {}
    known: dict[int, Mapping[str, int]] = {}  # nodes share their intents
    # kubeadm has all of kube-proxy's servers in the primary family (--bind-address), those on all addresses but one.
    loopback = cluster.families[0].loopback
    for node, addresses in nodes.items():
        own = {f"tcp/{loopback}/{METRICS_PORT}@{node}": SiteConfig(node, "metrics")}
        for address in addresses:
            own[f"tcp/{address}/{HEALTHZ_PORT}"] = SiteConfig(node, "healthz")
            own |= {f"tcp/{address}/{p}": SiteConfig(node, "service", name) for name, p in ports.items()}
        sockets |= own
        listen |= dict.fromkeys(own, node)
        wanted = intents[cluster.families[0]][node]  # the metrics are of one proxier: the first one's
        if id(wanted) not in known:
            known[id(wanted)] = _no_local(wanted)
        ready = {f"{ns}/{name}": n for (ns, name), n in local_ready(checked, node).items() if n}
        told[node] = NodeConfig(known[id(wanted)], _rules(draft, node, cluster), ready)
    config = KubeProxyConfig(tuple(listen), cluster.proxy_mode, sockets, told)
    everywhere = frozenset(key for key in listen if "@" not in key)
    draft.servers[NAME] = Server(NAME, "kube-proxy", "", config, listen, everywhere)


def _no_local(intents: Iterable[Intent]) -> dict[str, int]:
    """How many Service ports have endpoints, but none that a Local policy lets this node use."""
    found = Counter[str]()
    for one in intents:
        if one.internal_local and one.internal_verdict == "drop":
            found["internal"] += 1
        if one.external_local and one.externally_accessible and one.external_verdict == "drop":
            found["external"] += 1
    return dict(found)


def _rules(draft: Draft, node: str, cluster: Cluster) -> dict[str, int]:
    """How many rules each table of iptables has."""
    rules = draft.rulesets.get((node, cluster.families[0].iptables))
    if not isinstance(rules, Iptables):
        return {}
    return {table: sum(map(len, chains.values())) for table, chains in rules.tables.items()}
