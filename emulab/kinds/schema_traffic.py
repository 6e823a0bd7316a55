"""The schema of what leads traffic to pods: Service, EndpointSlice, Ingress, IngressClass, NetworkPolicy.

The rules are those of core/v1, discovery.k8s.io/v1 and networking.k8s.io/v1 (`ValidateService` and its kin).
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from emulab.kinds.schema_pods import label_selector, port_or_name, protocol
from emulab.model.checks import (
    Problems,
    anything,
    boolean,
    cidr,
    dns_1035_label,
    dns_label,
    dns_subdomain,
    exactly_one,
    integer,
    ip,
    is_ipv4,
    label_map,
    mapping,
    maybe_empty,
    one_of,
    pattern,
    port,
    sequence,
    show,
    string,
    unique,
    wrong,
)

NODE_PORTS = (30000, 32767)
"""The API server's default `--service-node-port-range`."""

_LINK_LOCAL_GROUPS = (ip_network("224.0.0.0/24"), ip_network("ff02::/16"))
_SPECIAL_BEGINNINGS = ("0.0.0.0", "127.", "169.254.", "224.0.0.")
"""Of IPv4 addresses that `_special` may refuse; the others need not be looked at."""

_dns_name_with_dot = pattern(
    r"(?=.{1,254}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\.?", "a DNS name"
)

# Service


def _cluster_ip(value: Any) -> Problems:
    return () if value == "None" else ip(value)


def _reachable_ip(value: Any) -> Problems:
    return ip(value) or _special(value)


def _special(value: str, *path: str | int) -> Problems:
    """What is wrong with an address that means another place to everybody (`ValidateNonSpecialIP`)."""
    address = ip_address(value)
    if address.is_unspecified:
        return wrong(f"{show(value)} may not be the unspecified address", *path)
    if address.is_loopback:
        return wrong(f"{show(value)} may not be in the loopback range (127.0.0.0/8, ::1/128)", *path)
    if address.is_link_local or any(address in group for group in _LINK_LOCAL_GROUPS):
        return wrong(f"{show(value)} may not be link-local", *path)
    return ()


def _node_port(value: Any) -> Problems:
    return () if value == 0 and value is not False else integer(*NODE_PORTS, "a node port")(value)


def _cluster_ips_agree(spec: dict[str, Any]) -> Problems:
    many, one = spec.get("clusterIPs"), spec.get("clusterIP")
    if many and one is not None and many[0] != one:
        return wrong(f"{show(many[0])} must be what clusterIP says: {show(one)}", "clusterIPs", 0)
    if many and len(many) == 2 and "None" not in many and _family(many[0]) == _family(many[1]):
        return wrong("must be of the other IP family than the first", "clusterIPs", 1)
    return wrong("may hold two addresses at most", "clusterIPs") if many and len(many) > 2 else ()


def _family(address: str) -> int:
    return ip_address(address).version if address else 0


def _has_ports(spec: dict[str, Any]) -> Problems:
    if spec.get("ports") or spec.get("type") == "ExternalName" or _is_headless(spec):
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
    if outside and _is_headless(spec):
        found += wrong(f'may not be "None" when type is {kind}', "clusterIP")
    if not outside:
        for index, entry in enumerate(spec.get("ports", ())):
            if entry.get("nodePort"):
                found += wrong(f"may not be set when type is {kind}", "ports", index, "nodePort")
        if spec.get("externalTrafficPolicy") and not spec.get("externalIPs"):
            found += wrong(f"may not be set when type is {kind}", "externalTrafficPolicy")
    if kind != "LoadBalancer":
        for field in ("loadBalancerSourceRanges", "allocateLoadBalancerNodePorts"):
            if spec.get(field) not in (None, []):
                found += wrong(f"may not be set when type is {kind}", field)
    if spec.get("sessionAffinityConfig") is not None and spec.get("sessionAffinity") in (None, "None"):
        found += wrong("may not be set when sessionAffinity is None", "sessionAffinityConfig")
    policy = spec.get("externalTrafficPolicy", "Cluster")
    if spec.get("healthCheckNodePort") and (kind, policy) != ("LoadBalancer", "Local"):
        need = "may only be set when type is LoadBalancer and externalTrafficPolicy is Local"
        found += wrong(need, "healthCheckNodePort")
    return found


def _is_headless(spec: dict[str, Any]) -> bool:
    return "None" in (spec.get("clusterIP"), *spec.get("clusterIPs", ())[:1])


service_spec = mapping(
    {
        "type": one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
        "clusterIP": maybe_empty(_cluster_ip),
        "clusterIPs": sequence(_cluster_ip),
        "ipFamilies": sequence(one_of("IPv4", "IPv6")),
        "ipFamilyPolicy": one_of("SingleStack", "PreferDualStack", "RequireDualStack"),
        "ports": sequence(
            mapping(
                {
                    "name": maybe_empty(dns_label),
                    "protocol": protocol,
                    "port": port,
                    "targetPort": port_or_name,
                    "nodePort": _node_port,
                    "appProtocol": string,
                },
                required=("port",),
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
        "publishNotReadyAddresses": boolean,
        "sessionAffinity": one_of("None", "ClientIP"),
        "sessionAffinityConfig": mapping(
            {"clientIP": mapping({"timeoutSeconds": integer(1, 86400, "a number of seconds")})}
        ),
        "externalTrafficPolicy": one_of("Cluster", "Local"),
        "internalTrafficPolicy": one_of("Cluster", "Local"),
        "loadBalancerIP": maybe_empty(ip),
        "loadBalancerSourceRanges": sequence(cidr),
        "loadBalancerClass": string,
        "allocateLoadBalancerNodePorts": boolean,
        "healthCheckNodePort": _node_port,
        "trafficDistribution": one_of("PreferClose", "PreferSameZone", "PreferSameNode"),
    },
    rules=(_cluster_ips_agree, _has_ports, _ports_are_named, _type_fits),
)

# EndpointSlice


def _addresses_fit(slice_: dict[str, Any]) -> Problems:
    kind = slice_["addressType"]
    version = {"IPv4": 4, "IPv6": 6}.get(kind)
    found: list[Any] = []
    for i, endpoint in enumerate(slice_.get("endpoints", ())):
        for j, address in enumerate(endpoint["addresses"]):
            if version == 4 and is_ipv4(address) and not address.startswith(_SPECIAL_BEGINNINGS):
                continue
            path = ("endpoints", i, "addresses", j)
            sound = not dns_subdomain(address) if version is None else not ip(address)
            if not sound or (version and ip_address(address).version != version):
                found += wrong(f"{show(address)} is not an {kind} address", *path)
            elif version:
                found += _special(address, *path)
    return found


_hints = sequence(mapping({"name": string}, required=("name",)))
_conditions = mapping({"ready": boolean, "serving": boolean, "terminating": boolean})
ENDPOINT_SLICE_FIELDS = {
    "addressType": one_of("IPv4", "IPv6", "FQDN"),
    "endpoints": sequence(
        mapping(
            {
                "addresses": sequence(string, least=1),
                "conditions": _conditions,
                "hostname": maybe_empty(dns_label),
                "nodeName": dns_subdomain,
                "zone": string,
                "hints": mapping({"forZones": _hints, "forNodes": _hints}),
                "targetRef": mapping({"kind": string, "name": string, "namespace": string}),
            },
            required=("addresses",),
        )
    ),
    "ports": sequence(
        mapping(
            {
                "name": maybe_empty(dns_label),
                "protocol": protocol,
                "port": port,
            }
        ),
        rules=(unique("name", defaults={"name": ""}),),
    ),
}
ENDPOINT_SLICE_RULES = (_addresses_fit,)

# Ingress


def _host(value: Any) -> Problems:
    if type(value) is not str:
        return string(value)
    name = value.removeprefix("*.")
    if dns_subdomain(name):
        return wrong(f"{show(value)} is not a host: a DNS name in lower case, with or without a leading '*.'")
    return () if ip(value) else wrong(f"{show(value)} is an IP address; a host must be a DNS name")


_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_END = ("/..", "/.")


def _path_is_absolute(entry: dict[str, Any]) -> Problems:
    path, kind = entry.get("path", ""), entry["pathType"]
    if kind == "ImplementationSpecific":
        return wrong(f"{show(path)} must begin with '/'", "path") if path and path[0] != "/" else ()
    if path[:1] != "/":
        return wrong(f"{show(path)} must begin with '/' when pathType is {kind}", "path")
    bad = [part for part in _NOT_IN_PATHS if part in path] + [e for e in _NOT_AT_END if path.endswith(e)]
    return wrong(f"{show(path)} must not contain {show(bad[0])}", "path") if bad else ()


_backend = mapping(
    {
        "service": mapping(
            {
                "name": dns_1035_label,
                "port": mapping({"number": port, "name": dns_label}, rules=(exactly_one("number", "name"),)),
            },
            required=("name", "port"),
        ),
        "resource": lambda _: wrong("is not supported; name a service"),
    },
    rules=(exactly_one("service", "resource"),),
)
_path = mapping(
    {
        "path": string,
        "pathType": one_of("Exact", "Prefix", "ImplementationSpecific"),
        "backend": _backend,
    },
    required=("pathType", "backend"),
    rules=(_path_is_absolute,),
)


def _leads_somewhere(spec: dict[str, Any]) -> Problems:
    return () if spec.get("rules") or "defaultBackend" in spec else wrong("needs rules or defaultBackend")


ingress_spec = mapping(
    {
        "ingressClassName": maybe_empty(dns_subdomain),
        "defaultBackend": _backend,
        "rules": sequence(
            mapping(
                {
                    "host": maybe_empty(_host),
                    "http": mapping({"paths": sequence(_path, least=1)}, required=("paths",)),
                },
            )
        ),
        "tls": sequence(mapping({"hosts": sequence(_host), "secretName": maybe_empty(dns_subdomain)})),
    },
    rules=(_leads_somewhere,),
)

ingress_class_spec = mapping({"controller": string, "parameters": anything})

network_policy_spec = mapping(
    {
        "podSelector": label_selector,
        "policyTypes": sequence(one_of("Ingress", "Egress")),
        "ingress": sequence(anything),
        "egress": sequence(anything),
    }
)
