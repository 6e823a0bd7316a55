"""From Services and EndpointSlices to what a proxy needs: addresses to translate, and to what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from emulab.model.addresses import parse_address
from emulab.model.collection import Objects
from emulab.model.services import Endpoint, EndpointPort, EndpointSlice, Service, ServicePort
from emulab.plan.addressing import ingress_ips
from emulab.plan.state import IPAddress


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where a connection to a Service may go."""

    address: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class ServiceRoute:
    """One port of one Service: where it is reached, and by what it is served."""

    namespace: str
    name: str
    port: ServicePort
    cluster_ips: tuple[IPAddress, ...]
    external_ips: tuple[IPAddress, ...]  # externalIPs and those of a load balancer
    node_port: int  # 0: none
    targets: tuple[Target, ...]


SliceViews = Mapping[tuple[str, str], Sequence[EndpointSlice]]
"""EndpointSlices by Service (namespace, name)."""


def slices_by_service(objects: Objects) -> SliceViews:
    """The EndpointSlices of each Service."""
    found: dict[tuple[str, str], list[EndpointSlice]] = {}
    for o in objects.kind("EndpointSlice"):
        view = EndpointSlice.of(o)
        if view.service:
            found.setdefault((view.namespace, view.service), []).append(view)
    return found


class Slices:
    """EndpointSlices to ask for, which notes whose were asked for: so it is known what a plan depends on."""

    def __init__(self, views: SliceViews) -> None:
        self._views = views
        self.asked: set[tuple[str, str]] = set()

    def of(self, namespace: str, service: str) -> Sequence[EndpointSlice]:
        """Those of a Service, which need not exist."""
        self.asked.add((namespace, service))
        return self._views.get((namespace, service), ())


def service_routes(objects: Objects) -> list[ServiceRoute]:
    """Every Service port that kube-proxy programs: not headless, not ExternalName."""
    slices = slices_by_service(objects)
    routes = []
    for o in objects.kind("Service"):
        service = Service.of(o)
        if service.type == "ExternalName" or service.headless or not service.cluster_ips:
            continue
        own = slices.get((service.namespace, service.name), ())
        balanced = ingress_ips(o, proxied=False) if service.type == "LoadBalancer" else []
        external = (*service.external_ips, *map(parse_address, balanced))
        routes += [
            ServiceRoute(
                service.namespace,
                service.name,
                port,
                service.cluster_ips,
                external,
                port.node_port,
                tuple(usable_targets(own, port)),
            )
            for port in service.ports
        ]
    return routes


def usable_targets(slices: Iterable[EndpointSlice], port: ServicePort) -> list[Target]:
    """The ready endpoints of a Service port; where there are none, those that serve while terminating (KEP-1669)."""
    ready: set[Target] = set()
    fallback: set[Target] = set()
    for view, endpoint, number in endpoints_of(slices, port):
        if view.address_type == "FQDN":
            continue
        # One address stands for one endpoint (EndpointSlice API: all but the first are to be ignored).
        target = Target(parse_address(endpoint.addresses[0]), number.port)
        if endpoint.ready:
            ready.add(target)
        elif endpoint.serving and endpoint.terminating:
            fallback.add(target)
    return sorted(ready or fallback, key=lambda t: (t.address.version, t))


def endpoints_of(
    slices: Iterable[EndpointSlice], port: ServicePort
) -> list[tuple[EndpointSlice, Endpoint, EndpointPort]]:
    """Endpoints of the slices that have a port of the Service port's name and protocol."""
    return [
        (view, endpoint, number)
        for view in slices
        for number in view.ports
        if number.name == port.name and number.protocol == port.protocol
        for endpoint in view.endpoints
        if endpoint.addresses
    ]
