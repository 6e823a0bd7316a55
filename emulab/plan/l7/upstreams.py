"""Whom the ingress controller asks for a backend: the servers of each upstream. Pure.

Through the Service, its cluster IP, as long as anybody would answer there; else the ready endpoints alone, as
ingress-nginx has them (`serviceEndpoints`, `externalNamePorts` of internal/ingress/controller/controller.go and
`getEndpointsFromSlices` of endpointslices.go):

* The backend's port is the number, the name or the targetPort of one of the Service.
* An endpoint that isn't ready is none, also where nobody else is left, unlike for kube-proxy (KEP-1669).
* An ExternalName is asked at the targetPort of the Service's port, else at that port, else at the backend's number. One
  that would lead back into the controller's own pod is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emulab.kinds.core.serviceview import Service, ServicePort
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.networking.ingressview import Backend
from emulab.model.addresses import is_address, parse_address, socket_name
from emulab.plan.proxy.intents import backends, usable


def backend_port(service: Service, wanted: int | str) -> ServicePort | None:
    """The port of a Service that a backend means; one by TCP before others, as requests come by it."""
    named = [p for p in service.ports if wanted in (p.port, p.name)]
    meant = named or [p for p in service.ports if str(p.target_port) == str(wanted)]
    return min(meant, key=lambda p: p.protocol != "TCP", default=None)


def external_server(service: Service, wanted: int | str) -> str | None:
    """`HOST:PORT` of an ExternalName; None where it has none that may be asked."""
    host = service.external_name.removesuffix(".")
    if host == "localhost" or (is_address(host) and parse_address(host).is_loopback):
        return None
    port = next((p for p in service.ports if wanted in (p.port, p.name)), None)
    if port is not None:
        number = port.target_port if isinstance(port.target_port, int) else port.port
    elif isinstance(wanted, int):
        number = wanted
    else:
        return None
    return socket_name(parse_address(host), number) if is_address(host) else f"{host}:{number}"


def service_servers(
    service: Service, wanted: int | str, slices: Iterable[EndpointSlice], through_service: bool
) -> list[str]:
    """`HOST:PORT` of the cluster IP or of each ready endpoint; none where nobody is there to answer."""
    port = backend_port(service, wanted)
    if port is None:
        return []
    if through_service and not service.headless:
        there = usable(backends(slices, port))
        return [socket_name(service.cluster_ips[0], port.port)] if there and service.cluster_ips else []
    found = {
        (parse_address(address), number)
        for view in slices
        for number in _numbers(view, port)
        for endpoint in view.endpoints
        if endpoint.ready
        for address in endpoint.addresses
    }
    ordered = sorted(found, key=lambda target: (target[0].version, target[0], target[1]))
    return [socket_name(*target) for target in ordered]


def endpoints_behind(service: Service, wanted: int | str, slices: Iterable[EndpointSlice]) -> int:
    """How many endpoints connections to the cluster IP are with, one each; 0 where all are with a single one."""
    port = backend_port(service, wanted)
    if port is None or service.headless or not service.cluster_ips or service.session_affinity == "ClientIP":
        return 0
    version = service.cluster_ips[0].version
    behind = sum(one.address.version == version for one in usable(backends(slices, port)))
    return behind if behind > 1 else 0


def _numbers(view: EndpointSlice, port: ServicePort) -> Iterator[int]:
    """The ports of a slice that are a Service's: those of its name, or its targetPort where none is called so."""
    if view.address_type == "FQDN":
        return
    fixed = port.target_port if isinstance(port.target_port, int) else 0
    if not view.ports and fixed:
        yield fixed
    for number in view.ports:
        if number.protocol == "TCP":
            by_name = number.port if not port.name or number.name == port.name else 0
            if by_name or fixed:
                yield by_name or fixed


def backend_name(namespace: str, backend: Backend) -> str:
    """What an upstream is called."""
    return f"{namespace}/{backend.service}/{backend.port}"
