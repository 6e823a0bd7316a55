"""What the cluster's DNS is told: Services, their endpoints, and the namespaces that there are.

Which names follow from them, the server knows (`emulab.servers.dns.kubernetes`). Readiness of an endpoint changes
what a name leads to, Pods by themselves change nothing.
"""

from __future__ import annotations

from dataclasses import replace

from emulab.kinds.core.serviceview import Service
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import ENDPOINT_SLICE, NAMESPACE, SERVICE
from emulab.model.addresses import socket_name
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


def cluster_dns_config(source: PlanSource, cluster: Cluster) -> DnsConfig:
    """The configuration of the cluster DNS, without its listeners."""
    told = Kubernetes(
        domain=cluster.cluster_domain.rstrip(".") + ".",
        namespaces=tuple(source.facts(NAMESPACE, _name).values()),
        services=dict(source.facts(SERVICE, _service).values()),
        slices=dict(source.facts(ENDPOINT_SLICE, _slice).values()),
    )
    return DnsConfig(
        listen=(),
        kubernetes=told,
        forward=(socket_name(cluster.underlays[0].resolver_vpc, 53),),
        recursion=True,
        cache=CacheLimits(max_ttl=30),  # CoreDNS' `cache 30`
    )


def _name(namespace: Object) -> str:
    return namespace.name


def _key(o: Object) -> str:
    return f"{o.namespace}/{o.name}"


def _service(o: Object) -> tuple[str, ServiceNames]:
    service = Service.of(o)
    external = service.type == "ExternalName"
    return _key(o), ServiceNames(
        namespace=service.namespace,
        name=service.name,
        headless=service.headless,
        tolerant=service.publish_not_ready_addresses,
        alias=service.external_name.rstrip(".") + "." if external else "",
        addresses=() if external else tuple(map(str, service.cluster_ips)),
        ports=tuple(NamedPort(p.name, p.protocol, p.port) for p in service.ports),
    )


def _slice(o: Object) -> tuple[str, SliceNames] | None:
    view = EndpointSlice.of(o)
    endpoints = tuple(NamedEndpoint(e.hostname, a, e.ready) for e in view.endpoints for a in e.addresses)
    if not (view.service and endpoints) or view.address_type == "FQDN":
        return None
    ports = tuple(NamedPort(p.name, p.protocol, p.port) for p in view.ports)
    return _key(o), SliceNames(view.namespace, view.service, endpoints, ports)


def cluster_dns_server(name: str, place: Place, config: DnsConfig) -> PlannedServer:
    """The server in one of the cluster DNS's pods."""
    listen, namespace = listeners(place.addresses), place.namespace
    return PlannedServer(
        name, "dns", namespace, replace(config, listen=listen), dict.fromkeys(listen, namespace)
    )
