"""The typed view of EndpointSlices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass
from emulab.kinds.core.serviceview import unproxied_label
from emulab.model.objects import Object

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""Label by which an EndpointSlice says whose endpoints it holds."""


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
    zone_hints: tuple[str, ...] = ()  # zones that shall send here (hints.forZones, KEP-2433)
    node_hints: tuple[str, ...] = ()  # nodes that shall (hints.forNodes, KEP-3015)

    @staticmethod
    def of(endpoint: Mapping[str, Any]) -> Endpoint:
        """The view of one entry of `endpoints`.

        A condition that isn't given means what the EndpointConditions reference says, and what kube-proxy takes it
        for: `ready` and `serving` are true then, each by itself, and `terminating` is false.
        """
        conditions = endpoint.get("conditions") or {}
        target = endpoint.get("targetRef") or {}
        hints = endpoint.get("hints") or {}
        return Endpoint(
            addresses=tuple(endpoint.get("addresses") or ()),
            ready=conditions.get("ready") is not False,
            serving=conditions.get("serving") is not False,
            terminating=bool(conditions.get("terminating")),
            hostname=endpoint.get("hostname") or "",
            node_name=endpoint.get("nodeName") or "",
            zone=endpoint.get("zone") or "",
            target_pod=target.get("name") or "" if target.get("kind", "Pod") == "Pod" else "",
            zone_hints=tuple(h["name"] for h in hints.get("forZones") or () if h.get("name")),
            node_hints=tuple(h["name"] for h in hints.get("forNodes") or () if h.get("name")),
        )


@dataclass(frozen=True, slots=True)
class EndpointPort:
    name: str
    protocol: str
    port: int  # 0 when not given, which Kubernetes reads as "all ports"


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    namespace: str
    name: str
    service: str  # label kubernetes.io/service-name, or ""
    address_type: str  # IPv4 | IPv6 | FQDN
    endpoints: tuple[Endpoint, ...]
    ports: tuple[EndpointPort, ...]
    proxied: bool  # not by its labels somebody else's than kube-proxy's

    @staticmethod
    def of(o: Object) -> EndpointSlice:
        """Made anew each time: the views of 10,000 slices would take as much memory as the slices themselves."""
        return _view(o)


def _view(o: Object) -> EndpointSlice:
    return EndpointSlice(
        namespace=o.namespace,
        name=o.name,
        service=o.labels.get(SERVICE_NAME_LABEL, ""),
        address_type=o.raw.get("addressType") or "IPv4",
        endpoints=tuple(Endpoint.of(endpoint) for endpoint in o.raw.get("endpoints") or ()),
        ports=tuple(
            EndpointPort(port.get("name") or "", port.get("protocol") or "TCP", port.get("port") or 0)
            for port in o.raw.get("ports") or ()
        ),
        proxied=not unproxied_label(o),
    )
