"""The typed view of a Cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Network, ip_network
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.errors import UserError
from emulab.kinds.emulab.conntrack import seconds, settings
from emulab.kinds.emulab.plugins import chain_field_of, chain_of
from emulab.kinds.emulab.podnetworks import (
    BLOCKS_OF,
    CALICO,
    NODE_LENGTHS,
    BlockSizes,
    around,
    carries,
    mode_of,
    plugin_of,
)
from emulab.kinds.emulab.proxymodes import proxy_mode_of
from emulab.kinds.emulab.zonelinks import ZoneLink, links_of
from emulab.kinds.networking.ippoolview import AddressPool
from emulab.kinds.registry import CLUSTER, IP_POOL
from emulab.kinds.underlay import DEFAULT_VPCS, Underlay, underlay_of
from emulab.model.addresses import IPNetwork, networks
from emulab.model.collection import Objects
from emulab.model.families import FAMILIES, IPV4, IPV6, Families, Family, families_of, first, of_family
from emulab.model.keys import Key
from emulab.model.objects import NOWHERE, Object

ZONE = "topology.kubernetes.io/zone"
ZONES = ("zone-a", "zone-b", "zone-c")
"""Those of nodes, by turns, in a Cluster that says of none where it is."""
DEFAULT_CIDRS: Mapping[Family, tuple[IPNetwork, IPNetwork]] = {
    IPV4: (ip_network("10.244.0.0/16"), ip_network("10.96.0.0/12")),
    IPV6: (ip_network("fd00:244::/48"), ip_network("fd00:96::/112")),
}
"""The networks of pods and of Services of a lab that says none."""

_UNIQUE_LOCAL = IPv6Network("fc00::/7")  # RFC 4193: nobody outside knows a way there

FAIL = "fail"
"""What is to become of containers whose image isn't loaded: they wait for it, as those of a real cluster."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    name: str
    labels: Mapping[str, str]
    zone: str
    capacity: Mapping[str, object] = field(default_factory=dict)  # what it has beside the default


@dataclass(frozen=True, slots=True)
class HostPath:
    """A folder of the host below which volumes of Pods may be."""

    path: str  # without a slash at its end
    read_only: bool

    @staticmethod
    def of(given: Mapping[str, Any]) -> HostPath:
        return HostPath(given["path"].rstrip("/"), given.get("readOnly") is not False)

    def has(self, path: str) -> bool:
        """Whether a path, in which there is no step back, is the folder's or below it."""
        return path == self.path or path.startswith(f"{self.path}/")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A lab's Cluster; `Cluster()` is what plain Kubernetes YAML gets."""

    name: str = "emulab"
    nodes: tuple[NodeSpec, ...] = (NodeSpec("node1", {}, ""), NodeSpec("node2", {}, ""))
    pod_cidrs: tuple[IPNetwork, ...] = (DEFAULT_CIDRS[IPV4][0],)
    service_cidrs: tuple[IPNetwork, ...] = (DEFAULT_CIDRS[IPV4][1],)
    families: Families = (IPV4,)
    cluster_domain: str = "cluster.local"
    vpcs: tuple[IPNetwork, ...] = (DEFAULT_VPCS[IPV4],)  # the nodes' network of each family
    network_plugin: str = "flannel"  # one of `NETWORKS`
    network_mode: str = "vxlan"  # one of those that it has
    pools: tuple[AddressPool, ...] = ()  # of calico; () where nobody says any
    mtu: int = 1500  # of the underlay, bytes
    links: tuple[ZoneLink, ...] = ()  # between zones that are far from each other
    isolated: bool = False  # whether the internet reaches balancers alone
    chain: str = ""  # of CNI plug-ins that make pods' networks, as JSON; "" where the lab makes them itself
    chain_field: str = "network.cni"  # what says it
    proxy_mode: str = "nftables"
    scheduler: str = "rr"  # of ipvs
    strict_arp: bool = False  # of ipvs: ARP is not answered for addresses of Services
    conntrack: tuple[tuple[str, str], ...] = settings({})  # sysctls of nodes
    node_cache: bool = False  # whether nodes have DNS caches, which pods ask
    dns_engine: str = "builtin"  # of the internet's DNS, one of `DNS_ENGINES`
    node_grace: float = 50.0  # seconds without a word of a node until it isn't ready
    toleration: float = 300.0  # seconds that a Pod stays there that doesn't say it
    ingress_replicas: int = 1
    ingress_upstream: str = "service"  # service | endpoints
    ingress_engine: str = "builtin"  # one of `ENGINES`
    ingress_workers: int = 1  # processes that serve in each of its pods
    balancer_engine: str = "builtin"  # of balancers of mode proxy that say none
    ingress_classes: tuple[str, ...] = ()  # of others, that the lab's ingress takes over; "*" for every one
    host_paths: tuple[HostPath, ...] = ()
    user_namespaces: bool = False  # of pods that don't say it themselves, in a lab of root
    missing_images: str = "standin"  # standin | fail
    runtime: str = "builtin"  # of pods' containers
    programs: str = "auto"  # of containers: auto | required | standin, as the annotation emulab.dev/program

    @staticmethod
    def of(o: Object) -> Cluster:
        spec, default = o.spec, Cluster()
        network, proxy, ingress = (spec.get(field) or {} for field in ("network", "proxy", "ingress"))
        lifecycle = spec.get("nodeLifecycle") or {}
        replicas = ingress.get("replicas")
        pods, services = cidrs_of(spec)
        return Cluster(
            name=o.name,
            nodes=nodes_of(spec),
            pod_cidrs=pods,
            service_cidrs=services,
            families=families_of(pods),
            vpcs=vpcs_of(spec),
            cluster_domain=spec.get("clusterDomain") or default.cluster_domain,
            network_plugin=plugin_of(network),
            network_mode=mode_of(network),
            mtu=network.get("mtu") or default.mtu,
            links=links_of(network),
            isolated=bool(network.get("isolated")),
            chain=chain_of(network),
            chain_field=chain_field_of(network),
            proxy_mode=proxy_mode_of(spec),
            scheduler=proxy.get("scheduler") or default.scheduler,
            strict_arp=proxy.get("strictARP") or default.strict_arp,
            conntrack=settings(proxy.get("conntrack") or {}),
            node_cache=bool((spec.get("dns") or {}).get("nodeLocalCache")),
            dns_engine=(spec.get("dns") or {}).get("engine") or default.dns_engine,
            node_grace=_seconds(lifecycle.get("nodeMonitorGracePeriod"), default.node_grace),
            toleration=float(lifecycle.get("defaultTolerationSeconds", default.toleration)),
            ingress_replicas=default.ingress_replicas if replicas is None else replicas,
            ingress_upstream=ingress.get("upstream") or default.ingress_upstream,
            ingress_engine=ingress.get("engine") or default.ingress_engine,
            ingress_workers=ingress.get("workers") or default.ingress_workers,
            balancer_engine=(spec.get("balancers") or {}).get("engine") or default.balancer_engine,
            ingress_classes=tuple(ingress.get("classes") or ()),
            host_paths=tuple(HostPath.of(p) for p in (spec.get("pods") or {}).get("hostPaths") or ()),
            user_namespaces=bool((spec.get("pods") or {}).get("userNamespaces")),
            missing_images=(spec.get("pods") or {}).get("missingImages") or default.missing_images,
            runtime=(spec.get("pods") or {}).get("runtime") or default.runtime,
            programs=(spec.get("containers") or {}).get("program") or default.programs,
        )

    @property
    def has_overlay(self) -> bool:
        """Whether pods of two nodes talk inside packets of the nodes."""
        return self.overhead > 0

    @property
    def overhead(self) -> int:
        """Bytes that are put around what pods of two nodes send each other: of the family where these are most, as a
        pod has one MTU for all (`determinePodMTU` in felix/dataplane/linux/int_dataplane.go)."""
        return max(around(self.network_mode, family.version) for family in self.families)

    def tunnel_mtu(self, family: Family) -> int:
        """The MTU of nodes' ends of the overlay that carries a family between addresses of the same one."""
        return self.mtu - around(self.network_mode, family.version)

    @property
    def blocks(self) -> BlockSizes:
        """The sizes of blocks, in networks that give addresses in blocks; none is larger than what a node has."""
        four, six = (self._block(family) for family in (IPV4, IPV6))
        return BlockSizes(four, six)

    def _block(self, family: Family) -> int:
        own, version = self.pods_of(family), family.version
        said = (p.block for p in self.pools if p.network.version == version and p.has_pods(own))
        return max(next(said, BLOCKS_OF[self.network_plugin].length(version)), NODE_LENGTHS[version])

    def has_global_pods(self, family: Family) -> bool:
        """Whether pods have addresses of IPv6 that hold outside of the cluster, too. They go out with them, unless the
        plug-in masquerades whoever it is: flannel's --ip-masq and natOutgoing of calico's pools, which is off by
        default in IPv6, are settings that such a cluster does without."""
        return family is IPV6 and not any(net.overlaps(_UNIQUE_LOCAL) for net in self.pods_of(family))

    @property
    def zones(self) -> Mapping[str, str]:
        """The zone of each node; "" of one that is in none."""
        return zones_of(self.nodes)

    def host_path(self, path: str) -> HostPath | None:
        """The folder that allows a volume at this path, the closest one; None where it isn't allowed."""
        return max((h for h in self.host_paths if h.has(path)), key=lambda h: len(h.path), default=None)

    @property
    def underlays(self) -> tuple[Underlay, ...]:
        """The networks outside the cluster, of each of its families."""
        return tuple(map(self.underlay, self.families))

    def underlay(self, family: Family) -> Underlay:
        """The networks outside the cluster, of one family."""
        return underlay_of(family, first(self.vpcs, family))

    @property
    def own_networks(self) -> tuple[IPNetwork, ...]:
        """Those of nodes, pods and Services, of which no Service's balancer has its virtual address."""
        return (*(u.vpc for u in self.underlays), *self.pod_cidrs, *self.service_cidrs)

    def pods_of(self, family: Family) -> tuple[IPNetwork, ...]:
        """The pods' networks of a family."""
        return of_family(self.pod_cidrs, family)

    def services_of(self, family: Family) -> tuple[IPNetwork, ...]:
        """The Services' networks of a family."""
        return of_family(self.service_cidrs, family)


def zones_of(nodes: Sequence[NodeSpec]) -> Mapping[str, str]:
    """The zone of each node: what is said of it, or where nothing is said of any, in turn."""
    if any(n.zone or ZONE in n.labels for n in nodes):
        return {n.name: n.labels.get(ZONE) or n.zone for n in nodes}
    return {n.name: ZONES[index % len(ZONES)] for index, n in enumerate(nodes)}


def nodes_of(spec: Mapping[str, Any]) -> tuple[NodeSpec, ...]:
    """The nodes, by what a Cluster says of them."""
    return _nodes(spec.get("nodes")) or Cluster().nodes


def _nodes(given: int | Sequence[Mapping[str, Any]] | None) -> tuple[NodeSpec, ...]:
    """`nodes: 3` is node1, node2 and node3; a list is taken as it stands."""
    if given is None:
        return ()
    if isinstance(given, int):
        return tuple(NodeSpec(f"node{number}", {}, "") for number in range(1, given + 1))
    return tuple(
        NodeSpec(n["name"], n.get("labels") or {}, n.get("zone") or "", n.get("capacity") or {})
        for n in given
    )


def _seconds(given: object, default: float) -> float:
    return default if given is None else float(seconds(str(given)) or 0)


def _cidrs(given: str | None) -> tuple[IPNetwork, ...]:
    """One CIDR, or one of each family separated by a comma, as kube-proxy's `--cluster-cidr` takes them."""
    return networks(given.split(",")) if given else ()


def cidrs_of(spec: Mapping[str, Any]) -> tuple[tuple[IPNetwork, ...], tuple[IPNetwork, ...]]:
    """The networks of pods and of Services, by what a Cluster says of them and of `network.families`."""
    names = (spec.get("network") or {}).get("families") or (IPV4.name,)
    defaults = [DEFAULT_CIDRS[family] for name in names for family in FAMILIES if family.name == name]
    pods, services = zip(*defaults, strict=True)
    return _cidrs(spec.get("podCIDR")) or pods, _cidrs(spec.get("serviceCIDR")) or services


def vpcs_of(spec: Mapping[str, Any]) -> tuple[IPNetwork, ...]:
    """The nodes' networks, by what a Cluster says of them: of each of the families that its pods have."""
    given = _cidrs((spec.get("network") or {}).get("underlay"))
    families = families_of(cidrs_of(spec)[0])
    return tuple(first(given, family) or DEFAULT_VPCS[family] for family in families)


def cluster_of(objects: Objects) -> Cluster:
    """The lab's Cluster, or the default one, with what IPPools say of calico's network."""
    found = objects.kind(CLUSTER)
    cluster = Cluster.of(found[0]) if found else Cluster()
    if cluster.network_plugin != CALICO or cluster.chain:
        return cluster
    pools = tuple(map(AddressPool.of, objects.kind(IP_POOL)))
    if not pools:
        return cluster
    cluster = replace(cluster, pools=pools)
    if (found[0].spec.get("network") or {}).get("mode"):
        return cluster
    asked = (pool.mode for pool in pools if pool.has_pods(cluster.pod_cidrs))
    able = (mode for mode in asked if all(carries(mode, family.version) for family in cluster.families))
    return replace(cluster, network_mode=next(able, cluster.network_mode))


def cluster_to_be(given: Sequence[Object], there: Objects) -> Cluster:
    """The Cluster of a lab once it has what is given beside what is there.

    IPPools of the lab's own don't count: they follow from the Cluster.
    """
    clusters = [o for o in given if o.type == CLUSTER] or there.kind(CLUSTER)
    pools = {o.key: o for o in there.kind(IP_POOL) if o.position != NOWHERE}
    pools |= {o.key: o for o in given if o.type == IP_POOL}
    return cluster_of(Objects([*clusters, *pools.values()]))


_FIXED = {
    "podCIDR": "pod_cidrs",
    "serviceCIDR": "service_cidrs",
    "network.families": "families",
    "clusterDomain": "cluster_domain",
    "network.mtu": "mtu",
    "network.underlay": "vpcs",
    "network.plugin": "network_plugin",
    "dns.nodeLocalCache": "node_cache",
}


def check_cluster(before: Cluster, new: Object) -> None:
    """Raises UserError when the Cluster object changes what a running lab can't change."""
    for name in _changed(before, Cluster.of(new)):
        raise UserError(f"{new.position}: {new.key} spec.{name}: can't be changed in a running lab")


def check_no_cluster(before: Cluster, key: Key) -> None:
    """Raises UserError when a running lab can't do without its Cluster object."""
    for name in _changed(before, Cluster()):
        raise UserError(
            f"{key}: spec.{name} can't be changed in a running lab, and would be the default's without it"
        )


def _changed(before: Cluster, after: Cluster) -> list[str]:
    fixed = [*_FIXED.items(), ((after if after.chain else before).chain_field, "chain")]
    return [name for name, field in fixed if getattr(before, field) != getattr(after, field)]
