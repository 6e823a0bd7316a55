"""Typed views of Service and EndpointSlice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv4Network, IPv6Network

from emulab.model.objects import Object

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ServicePort:
    name: str  # "" when unnamed
    protocol: str  # "TCP" | "UDP" | "SCTP"
    port: int
    target_port: int | str  # defaults to port
    node_port: int  # 0 when not given
    app_protocol: str


@dataclass(frozen=True, slots=True)
class Service:
    namespace: str
    name: str
    type: str  # ClusterIP | NodePort | LoadBalancer | ExternalName
    headless: bool
    cluster_ips: tuple[IPAddress, ...]  # as given; empty when to be allocated or headless
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str] | None  # None: no selector, endpoints are written by hand
    external_name: str
    external_ips: tuple[IPAddress, ...]
    publish_not_ready_addresses: bool
    session_affinity: str  # None | ClientIP
    affinity_timeout: int  # seconds
    external_traffic_policy: str  # Cluster | Local
    internal_traffic_policy: str  # Cluster | Local
    load_balancer_ip: str
    load_balancer_source_ranges: tuple[IPNetwork, ...]
    annotations: Mapping[str, str]

    @staticmethod
    def of(o: Object) -> Service:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Endpoint:
    addresses: tuple[str, ...]
    ready: bool
    serving: bool
    terminating: bool
    hostname: str
    node_name: str
    zone: str
    target_pod: str  # name of the Pod in targetRef, or ""


@dataclass(frozen=True, slots=True)
class EndpointPort:
    name: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    namespace: str
    name: str
    service: str  # label kubernetes.io/service-name, or ""
    address_type: str  # IPv4 | IPv6 | FQDN
    endpoints: tuple[Endpoint, ...]
    ports: tuple[EndpointPort, ...]

    @staticmethod
    def of(o: Object) -> EndpointSlice:
        raise NotImplementedError
