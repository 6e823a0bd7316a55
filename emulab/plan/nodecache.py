"""NodeLocal DNSCache: a cache on each node, which asks the cluster's DNS over TCP for the cluster's names.

It follows its own Corefile, of which node-cache fills in the addresses (cmd/node-cache/app/configmap.go). Its address
is one of the node's loopback device here, in the place of a dummy device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_interface

from emulab.kinds.core.nodecache import NodeCacheFlags, caches_of, own_addresses
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.installed import DNS_NAMESPACE, NODE_CACHE_NAME
from emulab.kinds.registry import CONFIG_MAP, SERVICE
from emulab.model.addresses import socket_name
from emulab.model.families import family_of
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.plan.coredns.corefile import COREFILE, STAYS, Corefile, Texts, read
from emulab.plan.coredns.lastgood import FollowedCorefile
from emulab.plan.dns import listeners
from emulab.plan.draft import Draft
from emulab.plan.kept import PlanSource
from emulab.plan.links import Address
from emulab.plan.state import Place, PlannedServer
from emulab.servers.dns.config import NODE_CACHE_METRICS, DnsConfig

_UPSTREAMS = "/etc/resolv.conf"
_VARIABLE = re.compile(r"__PILLAR__(?:[A-Z]+__)+")


def told(pod: Object, _spec: PodSpec, container: Container) -> NodeCacheFlags:
    """What a Pod's container is told."""
    given = next(c for c in pod.spec["containers"] if c["name"] == container.name)
    return NodeCacheFlags.of(pod.namespace, pod.spec, given)


def configurer(
    cluster: Cluster, _flags: NodeCacheFlags, followed: FollowedCorefile
) -> Callable[[PlanSource], DnsConfig]:
    """Who plans what all caches that are told the same do, but for their listeners."""
    if not followed.begins or followed.texts is None:
        config = DnsConfig(listen=(), refused=followed.refused, begins=False)
    else:
        made = corefile_of(cluster, _flags, followed.texts)
        config = DnsConfig(
            listen=(),
            refused=followed.refused,
            unread=followed.unread,
            blocks=made.blocks,
            recursion=any(block.forward for block in made.blocks),
            cache=made.limits,
            pages=made.pages,
            lameduck=made.lameduck,
        )
    return lambda _: config


def texts(source: PlanSource, _cluster: Cluster, flags: NodeCacheFlags) -> Texts:
    """What a cache reads."""
    return Texts(((COREFILE, filled(corefile_text(source, flags), source, flags)),))


def corefile_of(cluster: Cluster, _flags: NodeCacheFlags, texts: Texts) -> Corefile:
    """What these texts ask for."""
    return read(texts, socket_name(cluster.underlays[0].resolver_vpc, 53))


def corefile_text(source: PlanSource, flags: NodeCacheFlags) -> str:
    """The Corefile with its variables."""
    o = source.get(CONFIG_MAP.key(flags.namespace, flags.config_map))
    return str((o.raw.get("data") or {}).get(flags.key, "")) if o is not None else ""


def unheeded(o: Object) -> Iterator[Finding]:
    """What of a ConfigMap's Corefile isn't followed, when it is that of the nodes' caches."""
    text = str((o.raw.get("data") or {}).get(COREFILE, ""))
    if o.key != CONFIG_MAP.key(DNS_NAMESPACE, NODE_CACHE_NAME) or not text:
        return
    made, path = read(Texts(((COREFILE, _VARIABLE.sub("192.0.2.1", text)),)), ""), ("data", COREFILE)
    if made.error:
        yield Finding(o, path, f"{made.error}; {STAYS}")
    for line, what in made.warnings:
        if not what.startswith("kubernetes:"):
            yield Finding(o, path, f"line {line}: {what}")


def filled(text: str, source: PlanSource, flags: NodeCacheFlags) -> str:
    """A Corefile with addresses in the place of node-cache's variables."""
    service = source.get(SERVICE.key(flags.namespace, flags.upstream))
    values = {
        "__PILLAR__CLUSTER__DNS__": str(service.spec.get("clusterIP") or "") if service is not None else "",
        "__PILLAR__LOCAL__DNS__": " ".join(map(str, flags.local)),
        "__PILLAR__DNS__SERVER__": "",
        "__PILLAR__UPSTREAM__SERVERS__": _UPSTREAMS,
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def plan_addresses(draft: Draft, pod: Object, node: str, cluster: Cluster) -> None:
    """The addresses that a Pod's caches have on its node."""
    for flags in caches_of(pod.namespace, pod.spec):
        for address in own_addresses(flags, cluster.service_cidrs):
            prefix = f"{address}/{address.max_prefixlen}"
            draft.add(Address(node, "lo", ip_interface(prefix)))


def node_cache_servers(
    name: str, place: Place, config: DnsConfig, flags: NodeCacheFlags, cluster: Cluster
) -> list[PlannedServer]:
    """The server in one of the Pods: at its addresses, with numbers at those of the node."""
    own = own_addresses(flags, cluster.service_cidrs)
    if not own:
        return []
    if not config.begins:
        return [PlannedServer(name, "dns", place.namespace, config, {}, fails=True)]
    health = [port for port, what in config.pages.items() if what != "metrics"]
    numbers = [port for port, what in config.pages.items() if what == "metrics"]
    families = {family_of(address) for address in own}
    everywhere = [a for a in place.addresses if family_of(a) in families]
    told = [f"tcp/{address}/{port}" for address in own for port in health]
    told += [f"tcp/{address}/{port}" for address in everywhere for port in numbers]
    setup = [
        f"tcp/{host}/{flags.metrics_port}"
        for host in ([flags.metrics_host] if flags.metrics_host else everywhere)
    ]
    listen = tuple(dict.fromkeys((*(listeners(own) if config.blocks else ()), *told, *setup)))
    # Either shows all that the process counts, as its metrics are in one registry.
    pages = {**config.pages, **dict.fromkeys((*numbers, str(flags.metrics_port)), NODE_CACHE_METRICS)}
    told_all = replace(config, listen=listen, pages=pages)
    return [PlannedServer(name, "dns", place.namespace, told_all, dict.fromkeys(listen, place.namespace))]
