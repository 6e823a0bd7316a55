"""The typed view of a Cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.kinds.registry import CLUSTER
from emulab.model.addresses import IPNetwork, networks
from emulab.model.collection import Objects
from emulab.model.objects import Object


@dataclass(frozen=True, slots=True)
class NodeSpec:
    name: str
    labels: Mapping[str, str]
    zone: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """A lab's Cluster; `Cluster()` is what plain Kubernetes YAML gets."""

    name: str = "emulab"
    nodes: tuple[NodeSpec, ...] = (NodeSpec("node1", {}, ""), NodeSpec("node2", {}, ""))
    pod_cidrs: tuple[IPNetwork, ...] = (ip_network("10.244.0.0/16"),)
    service_cidrs: tuple[IPNetwork, ...] = (ip_network("10.96.0.0/12"),)
    cluster_domain: str = "cluster.local"
    network_mode: str = "vxlan"  # vxlan | routed
    mtu: int = 1500  # of the underlay, bytes
    proxy_mode: str = "nftables"
    scheduler: str = "rr"  # of ipvs
    strict_arp: bool = False  # of ipvs: ARP is not answered for addresses of Services
    ingress_replicas: int = 1
    ingress_upstream: str = "service"  # service | endpoints

    @staticmethod
    def of(o: Object) -> Cluster:
        spec, default = o.spec, Cluster()
        network, proxy, ingress = (spec.get(field) or {} for field in ("network", "proxy", "ingress"))
        replicas = ingress.get("replicas")
        return Cluster(
            name=o.name,
            nodes=_nodes(spec.get("nodes")) or default.nodes,
            pod_cidrs=_cidrs(spec.get("podCIDR")) or default.pod_cidrs,
            service_cidrs=_cidrs(spec.get("serviceCIDR")) or default.service_cidrs,
            cluster_domain=spec.get("clusterDomain") or default.cluster_domain,
            network_mode=network.get("mode") or default.network_mode,
            mtu=network.get("mtu") or default.mtu,
            proxy_mode=proxy.get("mode") or default.proxy_mode,
            scheduler=proxy.get("scheduler") or default.scheduler,
            strict_arp=proxy.get("strictARP") or default.strict_arp,
            ingress_replicas=default.ingress_replicas if replicas is None else replicas,
            ingress_upstream=ingress.get("upstream") or default.ingress_upstream,
        )


def _nodes(given: int | Sequence[Mapping[str, Any]] | None) -> tuple[NodeSpec, ...]:
    """`nodes: 3` is node1, node2 and node3; a list is taken as it stands."""
    if given is None:
        return ()
    if isinstance(given, int):
        return tuple(NodeSpec(f"node{number}", {}, "") for number in range(1, given + 1))
    return tuple(NodeSpec(n["name"], n.get("labels") or {}, n.get("zone") or "") for n in given)


def _cidrs(given: str | None) -> tuple[IPNetwork, ...]:
    """One CIDR, or one of each family separated by a comma, as kube-proxy's `--cluster-cidr` takes them."""
    return networks(given.split(",")) if given else ()


def cluster_of(objects: Objects) -> Cluster:
    """The lab's Cluster, or the default one."""
    found = objects.kind(CLUSTER)
    return Cluster.of(found[0]) if found else Cluster()


_FIXED = {
    "podCIDR": "pod_cidrs",
    "serviceCIDR": "service_cidrs",
    "clusterDomain": "cluster_domain",
    "network.mtu": "mtu",
}


def check_cluster(before: Cluster, new: Object) -> None:
    """Raises UserError when the Cluster object changes what a running lab can't change."""
    after = Cluster.of(new)
    for name, field in _FIXED.items():
        if getattr(before, field) != getattr(after, field):
            raise UserError(f"{new.position}: {new.key} spec.{name}: can't be changed in a running lab")
