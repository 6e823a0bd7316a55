"""What becomes of a Service's fields that its new type hasn't, where somebody edits what `get` shows.

An API server takes away those that are as they were, since it may have given them itself, and refuses those that are
changed as well (`dropTypeDependentFields` in pkg/registry/core/service/strategy.go, `SetDefaults_Service` in
pkg/apis/core/v1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emulab.model.objects import Object

_OF_AN_ADDRESS = (("clusterIP", "clusterIPs"), ("ipFamilies",), ("ipFamilyPolicy",))
"""What a Service with an address has; what stands together goes together."""
_OF_A_BALANCER = ("allocateLoadBalancerNodePorts", "loadBalancerClass")
_DEFAULTS = {"externalTrafficPolicy": "Cluster"}


def updated(new: dict[str, Any], old: Object) -> dict[str, Any]:
    """A user's Service, which nobody has checked yet, over one that is there."""
    spec = new.get("spec")
    if type(spec) is not dict:
        return new
    dropped = set(_dropped(spec, old.spec))
    kept = {field: value for field, value in spec.items() if field not in dropped}
    ports = kept.get("ports")
    if _has_node_ports(old.spec) and not _has_node_ports(spec) and type(ports) is list:
        kept["ports"] = _without_node_ports(ports, old.spec)
    return {**new, "spec": kept}


def _dropped(spec: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[str]:
    if _type(spec) == "ExternalName" != _type(old):
        for fields in _OF_AN_ADDRESS:
            if all(_same(field, spec, old) for field in fields):
                yield from fields
    if _type(old) == "LoadBalancer" != _type(spec):
        yield from (field for field in _OF_A_BALANCER if _same(field, spec, old))
    if _has_health_check(old) and not _has_health_check(spec) and _same("healthCheckNodePort", spec, old):
        yield "healthCheckNodePort"
    if _is_outside(old) and not _is_outside(spec) and _same("externalTrafficPolicy", spec, old):
        yield "externalTrafficPolicy"
    if spec.get("sessionAffinity") in (None, "None") and _same("sessionAffinityConfig", spec, old):
        yield "sessionAffinityConfig"


def _same(field: str, spec: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    default = _DEFAULTS.get(field)
    return bool((spec.get(field) or default) == (old.get(field) or default))


def _without_node_ports(ports: list[Any], old: Mapping[str, Any]) -> list[Any]:
    """The ports, without node ports if there is none that the Service hadn't."""
    had = [port.get("nodePort") for port in old.get("ports") or ()]
    if any(type(port) is dict and port.get("nodePort") not in (None, *had) for port in ports):
        return ports
    return [
        {f: v for f, v in port.items() if f != "nodePort"} if type(port) is dict else port for port in ports
    ]


def _type(spec: Mapping[str, Any]) -> Any:
    return spec.get("type") or "ClusterIP"


def _has_node_ports(spec: Mapping[str, Any]) -> bool:
    return _type(spec) in ("NodePort", "LoadBalancer")


def _has_health_check(spec: Mapping[str, Any]) -> bool:
    return _type(spec) == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _is_outside(spec: Mapping[str, Any]) -> bool:
    return _has_node_ports(spec) or (_type(spec) == "ClusterIP" and bool(spec.get("externalIPs")))
