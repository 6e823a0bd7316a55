"""The typed view of Services, and what follows from their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass
from emulab.kinds.emulab.cloudannotations import source_ranges
from emulab.model.addresses import IPAddress, IPNetwork, networks, parse_address
from emulab.model.objects import Object

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
"""Label of a Service that another proxy serves: kube-proxy leaves it alone (KEP-2447)."""
HEADLESS_LABEL = "service.kubernetes.io/headless"
"""Label of the EndpointSlices of a headless Service."""
UNPROXIED_LABELS = (PROXY_NAME_LABEL, HEADLESS_LABEL)
"""Services and EndpointSlices with either of them kube-proxy doesn't ask for (cmd/kube-proxy/app/server.go)."""

DEFAULT_AFFINITY_TIMEOUT = 10800
"""`sessionAffinityConfig.clientIP.timeoutSeconds` when not given: three hours."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    name: str  # "" when unnamed
    protocol: str  # "TCP" | "UDP" | "SCTP"
    port: int
    target_port: int | str  # defaults to port
    node_port: int  # 0 when not given
    app_protocol: str

    @staticmethod
    def of(port: Mapping[str, Any]) -> ServicePort:
        """The view of one entry of `spec.ports`."""
        return ServicePort(
            name=port.get("name") or "",
            protocol=port.get("protocol") or "TCP",
            port=port["port"],
            target_port=port.get("targetPort") or port["port"],
            node_port=port.get("nodePort") or 0,
            app_protocol=port.get("appProtocol") or "",
        )


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
    health_check_node_port: int  # 0 when not given
    traffic_distribution: str  # "" | PreferSameZone (also PreferClose) | PreferSameNode
    annotations: Mapping[str, str]

    @staticmethod
    def of(o: Object) -> Service:
        return o.view(_service)


def is_proxied(o: Object) -> bool:
    """Whether kube-proxy has to do with a Service: not with one that is headless or an ExternalName, nor with one whose
    labels say so."""
    service = Service.of(o)
    return not (service.headless or service.type == "ExternalName" or unproxied_label(o))


def unproxied_label(o: Object) -> str:
    """The label by which kube-proxy leaves a Service or EndpointSlice alone, if there is one."""
    return next((label for label in UNPROXIED_LABELS if label in o.labels), "")


def _service(o: Object) -> Service:
    spec = o.spec
    # clusterIPs comes first: where both are given, clusterIP repeats its first element.
    given = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return Service(
        namespace=o.namespace,
        name=o.name,
        type=spec.get("type") or "ClusterIP",
        headless=given[0] == "None",
        cluster_ips=tuple(parse_address(ip) for ip in given if ip and ip != "None"),
        ports=tuple(ServicePort.of(port) for port in spec.get("ports") or ()),
        selector=spec.get("selector") or None,
        external_name=spec.get("externalName") or "",
        external_ips=tuple(parse_address(ip) for ip in spec.get("externalIPs") or ()),
        publish_not_ready_addresses=bool(spec.get("publishNotReadyAddresses")),
        session_affinity=spec.get("sessionAffinity") or "None",
        affinity_timeout=client_ip.get("timeoutSeconds") or DEFAULT_AFFINITY_TIMEOUT,
        external_traffic_policy=spec.get("externalTrafficPolicy") or "Cluster",
        internal_traffic_policy=spec.get("internalTrafficPolicy") or "Cluster",
        load_balancer_ip=spec.get("loadBalancerIP") or "",
        load_balancer_source_ranges=networks(
            spec.get("loadBalancerSourceRanges") or source_ranges(o.annotations)
        ),
        health_check_node_port=spec.get("healthCheckNodePort") or 0,
        traffic_distribution=_distribution(spec.get("trafficDistribution") or ""),
        annotations=o.annotations,
    )


def _distribution(given: str) -> str:
    """PreferClose is what PreferSameZone was called first (KEP-3015)."""
    return "PreferSameZone" if given == "PreferClose" else given


def ingress_ips(service: Object, proxied: bool = True) -> list[str]:
    """The addresses in a Service's `status.loadBalancer.ingress`, with or without those of ipMode Proxy."""
    entries = (service.status.get("loadBalancer") or {}).get("ingress") or ()
    return [str(e["ip"]) for e in entries if e.get("ip") and (proxied or e.get("ipMode") != "Proxy")]


def is_internal(service: Object) -> bool:
    """Whether a LoadBalancer Service is served by the world's own balancers, and so gets none of its own."""
    return service.annotations.get("emulab.dev/served-by") == "load-balancers"
