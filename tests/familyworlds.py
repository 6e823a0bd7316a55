"""Manifests that use what planners know of families, and their worlds in IPv6, in IPv4, and in both."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any

from emulab.kinds.emulab.podnetworks import KUBE_ROUTER, NETWORKS, carries
from emulab.lab.offline import offline_world
from emulab.model.collection import Objects
from emulab.model.families import IPV4, IPV6, Family, family_of
from emulab.model.sources import Source
from emulab.plan.links import Item, Route
from emulab.plan.proxy.modes import MODES
from emulab.plan.state import World
from emulab.servers.bgp.config import BgpConfig

POD_NETWORKS = [
    f"{plugin}-{mode}" for plugin, modes in NETWORKS.items() for mode in modes if carries(mode, 6)
]
"""Every network of pods that has both families: plug-in and mode."""
EVERY = [
    *((mode, "kube-router-bgp" if mode == KUBE_ROUTER else POD_NETWORKS[0]) for mode in MODES),
    *((next(iter(MODES)), network) for network in POD_NETWORKS[1:]),
]
"""Every mode of proxies with one network, and every network with one mode: neither looks at the other."""
CIDRS = {
    IPV4: {"podCIDR": "10.244.0.0/16", "serviceCIDR": "10.96.0.0/12"},
    IPV6: {"podCIDR": "fd00:244::/56", "serviceCIDR": "fd00:96::/112"},
}
WORKLOADS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: shop}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {hostNetwork: true, containers: [{name: c, image: agent, ports: [{containerPort: 9100}]}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  ingressClassName: nginx
  rules:
  - host: shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: plain, port: {number: 80}}}}]}
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: office}
spec: {network: vpc}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: private-lb}
spec: {network: vpc, ports: [80], target: {ingress: true}}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: corp.example.com}
spec: {visibility: private, records: [{name: www, type: CNAME, value: shop.example.com}]}
"""
SERVICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "sticky": {"sessionAffinity": "ClientIP"},
    "inside": {"internalTrafficPolicy": "Local"},
    "exposed": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    "direct": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False},
    "nobody": {"type": "NodePort", "selector": {"app": "nobody"}},
    "guarded": {
        "type": "LoadBalancer",
        "loadBalancerSourceRanges": ["198.51.100.0/24", "2001:db8:1::/64"],
    },
    "datagrams": {"type": "NodePort", "ports": [{"port": 53, "targetPort": 8080, "protocol": "UDP"}]},
    "headless": {"clusterIP": "None"},
}


ANNOTATIONS: dict[str, dict[str, str]] = {}
"""Of these Services, by name."""


def service(name: str, more: dict[str, Any], policy: str, families: tuple[Family, ...]) -> str:
    base = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}], "ipFamilyPolicy": policy}
    spec = {**base, **more}
    if ranges := spec.get("loadBalancerSourceRanges"):
        spec["loadBalancerSourceRanges"] = [r for r in ranges if family_of(ip_network(r)) in families]
    metadata = {"name": name, "namespace": "shop", "annotations": ANNOTATIONS.get(name, {})}
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


def cluster(families: tuple[Family, ...], mode: str, network: str) -> str:
    cidrs = ", ".join(f"{k}: '{','.join(CIDRS[f][k] for f in families)}'" for k in ("podCIDR", "serviceCIDR"))
    plugin, _, way = network.rpartition("-")
    if mode == KUBE_ROUTER:
        plugin, way = KUBE_ROUTER, "bgp"  # with which alone it goes
    own = f"{{plugin: {plugin}, mode: {way}, mtu: 1500}}"
    spec = f"{{nodes: 3, {cidrs}, network: {own}, proxy: {{mode: {mode}}}}}"
    return f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: c}}\nspec: {spec}\n"


def built(
    families: tuple[Family, ...],
    mode: str = "nftables",
    network: str = POD_NETWORKS[0],
    only: Family | None = None,
    more: str = "",
) -> tuple[Objects, World]:
    """Objects and world; `only`: with a Service more, `alone`, of that family. `more`: a manifest besides."""
    policy = "RequireDualStack" if len(families) > 1 else "SingleStack"
    services = [service(name, more, policy, families) for name, more in SERVICES.items()]
    if only is not None:
        alone = {"type": "LoadBalancer", "ipFamilies": [only.name]}
        services.append(service("alone", alone, "SingleStack", (only,)))
    return _planned((cluster(families, mode, network), WORKLOADS, *services, *([more] if more else ())))


@cache  # neither can be changed, and many tests look at the same ones
def _planned(texts: tuple[str, ...]) -> tuple[Objects, World]:
    return offline_world([Source(f"text{i}", text) for i, text in enumerate(texts)])


def learned(world: World) -> World:
    """The world with the routes that speakers of BGP tell each other, which no plan has."""
    speakers = [(s.namespace, s.config) for s in world.servers.values() if isinstance(s.config, BgpConfig)]
    routes: list[Item] = []
    for namespace, own in speakers:
        link = "vpc" if own.callers else "eth0"
        for block, told in [
            (ip_network(b), other) for _, other in speakers for b in (*other.blocks, *other.ranges)
        ]:
            if told is own:
                routes += [Route(namespace, block, type="blackhole")] if told.blocks else []
                continue
            [hop] = (a for a in map(ip_address, told.own) if a.version == block.version)
            routes.append(Route(namespace, block, link, hop))
    return replace(world, network=replace(world.network, items=world.network.items.union(routes)))


def planned_with_objects(
    *families: Family, mode: str = "nftables", network: str = POD_NETWORKS[0]
) -> tuple[Objects, World]:
    """Objects and world."""
    return built(families, mode, network)


def planned(*families: Family, mode: str = "nftables", network: str = POD_NETWORKS[0]) -> World:
    """That world alone."""
    return learned(planned_with_objects(*families, mode=mode, network=network)[1])
