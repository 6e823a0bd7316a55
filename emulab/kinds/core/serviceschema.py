"""What a Service may say, by the rules of core/v1 (`ValidateService`), and what it thereby asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.addresses import special
from emulab.kinds.checks import port_or_name, protocol
from emulab.kinds.core.servicefamilies import POLICIES, families_agree, family_name, is_headless
from emulab.kinds.emulab.cloudannotations import SOURCE_RANGES, source_ranges
from emulab.kinds.openapi.typed import typed
from emulab.model.checks import (
    Problems,
    cidr,
    dns_label,
    integer,
    ip,
    label_key,
    label_map,
    maybe_empty,
    one_of,
    pattern,
    port,
    sequence,
    show,
    unique,
    wrong,
)

NODE_PORTS = range(30000, 32768)
"""The API server's default `--service-node-port-range`."""

_dns_name_with_dot = pattern(
    r"(?=.{1,254}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\.?", "a DNS name"
)


def _cluster_ip(value: Any) -> Problems:
    return () if value == "None" else ip(value)


def _reachable_ip(value: Any) -> Problems:
    return ip(value) or special(value)


_numbered = integer(NODE_PORTS[0], NODE_PORTS[-1], "a node port")


def _node_port(value: Any) -> Problems:
    return () if value == 0 and value is not False else _numbered(value)


def _cluster_ips_agree(spec: dict[str, Any]) -> Problems:
    many, one = spec.get("clusterIPs"), spec.get("clusterIP")
    if many and one is not None and many[0] != one:
        return wrong(f"{show(many[0])} must be what clusterIP says: {show(one)}", "clusterIPs", 0)
    if many and len(many) == 2 and "None" not in many and family_name(many[0]) == family_name(many[1]):
        return wrong("must be of the other IP family than the first", "clusterIPs", 1)
    return wrong("may hold two addresses at most", "clusterIPs") if many and len(many) > 2 else ()


def _has_ports(spec: dict[str, Any]) -> Problems:
    if spec.get("ports") or spec.get("type") == "ExternalName" or is_headless(spec):
        return ()
    return wrong("is required", "ports")


def _ports_are_named(spec: dict[str, Any]) -> Problems:
    ports = spec.get("ports", ())
    if len(ports) < 2:
        return ()
    return [
        problem
        for index, entry in enumerate(ports)
        if not entry.get("name")
        for problem in wrong("is required when there are several ports", "ports", index, "name")
    ]


def _type_fits(spec: dict[str, Any]) -> Problems:
    kind = spec.get("type", "ClusterIP")
    outside = kind in ("NodePort", "LoadBalancer")
    found: list[Any] = []
    if kind == "ExternalName":
        if not spec.get("externalName"):
            found += wrong("is required when type is ExternalName", "externalName")
        if spec.get("clusterIP"):
            found += wrong("may not be set when type is ExternalName", "clusterIP")
    if outside and is_headless(spec):
        found += wrong(f'may not be "None" when type is {kind}', "clusterIP")
    if not outside:
        for index, entry in enumerate(spec.get("ports", ())):
            if entry.get("nodePort"):
                found += wrong(f"may not be set when type is {kind}", "ports", index, "nodePort")
        if spec.get("externalTrafficPolicy") and not spec.get("externalIPs"):
            found += wrong(f"may not be set when type is {kind}", "externalTrafficPolicy")
    if kind != "LoadBalancer":
        for field in ("loadBalancerSourceRanges", "allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) not in (None, []):
                found += wrong(f"may not be set when type is {kind}", field)
    policy = spec.get("externalTrafficPolicy", "Cluster")
    if spec.get("healthCheckNodePort") and (kind, policy) != ("LoadBalancer", "Local"):
        need = "may only be set when type is LoadBalancer and externalTrafficPolicy is Local"
        found += wrong(need, "healthCheckNodePort")
    return found


service_spec = typed(
    "core.v1.ServiceSpec",
    {
        "type": one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
        "clusterIP": maybe_empty(_cluster_ip),
        "clusterIPs": sequence(_cluster_ip),
        "ipFamilies": sequence(one_of("IPv4", "IPv6")),
        "ipFamilyPolicy": one_of(*POLICIES),
        "ports": sequence(
            typed(
                "core.v1.ServicePort",
                {
                    "name": maybe_empty(dns_label),
                    "protocol": protocol,
                    "port": port,
                    "targetPort": port_or_name,
                    "nodePort": _node_port,
                    "appProtocol": label_key,
                },
            ),
            rules=(
                unique("name"),
                unique("port", "protocol", defaults={"protocol": "TCP"}),
                unique("nodePort", "protocol", defaults={"protocol": "TCP"}),
            ),
        ),
        "selector": label_map,
        "externalName": maybe_empty(_dns_name_with_dot),
        "externalIPs": sequence(_reachable_ip),
        "sessionAffinity": one_of("None", "ClientIP"),
        "sessionAffinityConfig": typed(
            "core.v1.SessionAffinityConfig",
            {
                "clientIP": typed(
                    "core.v1.ClientIPConfig", {"timeoutSeconds": integer(1, 86400, "a number of seconds")}
                )
            },
        ),
        "externalTrafficPolicy": one_of("Cluster", "Local"),
        "internalTrafficPolicy": one_of("Cluster", "Local"),
        "loadBalancerClass": label_key,
        "loadBalancerIP": maybe_empty(ip),
        "loadBalancerSourceRanges": sequence(cidr),
        "healthCheckNodePort": _node_port,
        "trafficDistribution": one_of("PreferClose", "PreferSameZone", "PreferSameNode"),
    },
    rules=(_cluster_ips_agree, families_agree, _has_ports, _ports_are_named, _type_fits),
)


def source_ranges_fit(service: dict[str, Any]) -> Problems:
    """The annotation of old in the place of loadBalancerSourceRanges, as Kubernetes checks it (`ValidateService`)."""
    annotations = (service.get("metadata") or {}).get("annotations") or {}
    if type(annotations) is not dict or SOURCE_RANGES not in annotations:
        return ()
    where = ("metadata", "annotations", SOURCE_RANGES)
    kind = (service.get("spec") or {}).get("type") or "ClusterIP"
    if kind != "LoadBalancer":
        return wrong(f"may not be set when type is {kind}", *where)
    return [((*where, *path), text) for one in source_ranges(annotations) for path, text in cidr(one)]


def needs_node_ports(spec: Mapping[str, Any]) -> bool:
    """Whether a Service's ports get node ports without asking (KEP-1864: a balancer may do without)."""
    kind = spec.get("type")
    return kind == "NodePort" or (
        kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )


def needs_health_check(spec: Mapping[str, Any]) -> bool:
    """Whether nodes tell balancers, at a port for this Service alone, if they have endpoints of it."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"
