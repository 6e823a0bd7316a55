"""What the cluster's DNS is told: Services, their endpoints, and the namespaces that there are.

Which names follow from them, the server knows (`emulab.servers.dns.kubernetes`). Readiness of an endpoint changes
what a name leads to, Pods by themselves change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Generic, TypeVar

from emulab.kinds.core.serviceview import Service
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import ENDPOINT_SLICE, NAMESPACE, SERVICE
from emulab.model.addresses import socket_name
from emulab.model.keys import Key
from emulab.model.members import Version, changed_keys
from emulab.model.objects import Object
from emulab.plan.dns import listeners
from emulab.plan.kept import PlanSource
from emulab.plan.state import Place, PlannedServer
from emulab.servers.dns.config import (
    CacheLimits,
    DnsConfig,
    Kubernetes,
    NamedEndpoint,
    NamedPort,
    ServiceNames,
    SliceNames,
)

T = TypeVar("T")


class ClusterDns:
    """Plans the configuration of the cluster DNS, one after the other, without its listeners."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._services, self._slices = _Told[ServiceNames](), _Told[SliceNames]()

    def __call__(self, source: PlanSource) -> DnsConfig:
        """The configuration for these objects."""
        told = Kubernetes(
            domain=self._cluster.cluster_domain.rstrip(".") + ".",
            namespaces=tuple(source.facts(NAMESPACE, _name).values()),
            services=self._services.follow(source.facts(SERVICE, _service)),
            slices=self._slices.follow(source.facts(ENDPOINT_SLICE, _slice)),
        )
        return DnsConfig(
            listen=(),
            kubernetes=told,
            forward=(socket_name(self._cluster.underlays[0].resolver_vpc, 53),),
            recursion=True,
            cache=CacheLimits(max_ttl=30),  # CoreDNS' `cache 30`
        )


class _Told(Generic[T]):
    """A mapping that the server is told, in versions: there may be 10,000 in it of which one changes."""

    def __init__(self) -> None:
        self._facts: Mapping[Key, T] = {}
        self._made = Version[str, T]()

    def follow(self, facts: Mapping[Key, T]) -> Version[str, T]:
        """The version that has these values."""
        changed = changed_keys(self._facts, facts)
        if changed:
            self._made = self._made.next()
            for key in changed:
                name = f"{key.namespace}/{key.name}"
                if key in facts:
                    self._made.write(name, facts[key])
                else:
                    self._made.remove(name)
        self._facts = facts
        return self._made


def _name(namespace: Object) -> str:
    return namespace.name


def _service(o: Object) -> ServiceNames:
    service = Service.of(o)
    external = service.type == "ExternalName"
    return ServiceNames(
        namespace=service.namespace,
        name=service.name,
        headless=service.headless,
        tolerant=service.publish_not_ready_addresses,
        alias=service.external_name.rstrip(".") + "." if external else "",
        addresses=() if external else tuple(map(str, service.cluster_ips)),
        ports=tuple(NamedPort(p.name, p.protocol, p.port) for p in service.ports),
    )


def _slice(o: Object) -> SliceNames | None:
    view = EndpointSlice.of(o)
    endpoints = tuple(NamedEndpoint(e.hostname, a, e.ready) for e in view.endpoints for a in e.addresses)
    if not (view.service and endpoints) or view.address_type == "FQDN":
        return None
    ports = tuple(NamedPort(p.name, p.protocol, p.port) for p in view.ports)
    return SliceNames(view.namespace, view.service, endpoints, ports)


def cluster_dns_server(name: str, place: Place, config: DnsConfig) -> PlannedServer:
    """The server in one of the cluster DNS's pods."""
    listen, namespace = listeners(place.addresses), place.namespace
    return PlannedServer(
        name, "dns", namespace, replace(config, listen=listen), dict.fromkeys(listen, namespace)
    )
