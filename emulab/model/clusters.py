"""Typed views of emulab's own kinds: Cluster, LoadBalancer, Client, Zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from emulab.model.objects import Object
from emulab.model.services import IPAddress, IPNetwork


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
    ingress_replicas: int = 1
    ingress_upstream: str = "service"  # service | endpoints

    @staticmethod
    def of(o: Object) -> Cluster:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class BalancerTarget:
    ingress: bool
    namespace: str = ""
    service: str = ""
    port: int | str = 0


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    name: str
    network: str  # internet | vpc
    address: IPAddress | None  # None: to be allocated
    ports: tuple[int, ...]
    target: BalancerTarget
    source_ranges: tuple[IPNetwork, ...]

    @staticmethod
    def of(o: Object) -> LoadBalancer:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Client:
    name: str
    network: str  # internet | vpc

    @staticmethod
    def of(o: Object) -> Client:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Record:
    name: str  # relative to the zone, "@" for the zone itself
    type: str  # A | AAAA | CNAME | TXT | SRV | MX | NS | PTR
    value: str
    ttl: int  # seconds


@dataclass(frozen=True, slots=True)
class Zone:
    name: str
    visibility: str  # public | private
    records: tuple[Record, ...]

    @staticmethod
    def of(o: Object) -> Zone:
        raise NotImplementedError
