"""What an API server writes into a Service that doesn't say it (`SetDefaults_Service` of pkg/apis/core/v1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.core.serviceview import DEFAULT_AFFINITY_TIMEOUT
from emulab.model.objects import Object

_OUTSIDE = ("NodePort", "LoadBalancer")


def written(o: Object) -> Object:
    return o.replace(spec=with_defaults(o.spec))


def with_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with what its manifest doesn't say, but for what depends on the lab: addresses, families, node ports."""
    made: dict[str, Any] = {"type": "ClusterIP", "sessionAffinity": "None"}
    made |= {field: value for field, value in spec.items() if value is not None}
    if made["sessionAffinity"] == "ClientIP" and not (made.get("sessionAffinityConfig") or {}).get(
        "clientIP"
    ):
        made["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": DEFAULT_AFFINITY_TIMEOUT}}
    if made["type"] != "ExternalName":
        made.setdefault("internalTrafficPolicy", "Cluster")
    if made["type"] in _OUTSIDE or (made["type"] == "ClusterIP" and made.get("externalIPs")):
        made.setdefault("externalTrafficPolicy", "Cluster")
    if made["type"] == "LoadBalancer":
        made.setdefault("allocateLoadBalancerNodePorts", True)
    if made.get("ports"):
        made["ports"] = [_port(port) for port in made["ports"]]
    return made


def _port(port: Mapping[str, Any]) -> dict[str, Any]:
    said = {field: value for field, value in port.items() if value is not None}
    return {
        **said,
        "protocol": said.get("protocol") or "TCP",
        "targetPort": said.get("targetPort") or said["port"],
    }
