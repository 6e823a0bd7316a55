"""Whom the ingress controller asks for a backend: the servers of each upstream. Pure.

Through the Service, its cluster IP, as long as anybody would answer there; else the ready endpoints alone, as
ingress-nginx has them (`serviceEndpoints`, `getServiceClusterEndpoint`, `externalNamePorts` of
internal/ingress/controller/controller.go and `getEndpointsFromSlices` of endpointslices.go):

* The backend's port is the number, the name or the targetPort of one of the Service: the first that has any of them.
* Who says that the Service is asked (service-upstream) gets the cluster IP at the number itself, or at the port of the
  name, whether or not anybody answers there.
* An endpoint that isn't ready is none, also where nobody else is left, unlike for kube-proxy (KEP-1669).
* An ExternalName is asked at the targetPort of the Service's port, else at that port, else at the backend's number. One
  that would lead back into the controller's own pod is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from emulab.kinds.core.serviceview import Service, ServicePort
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.networking.ingressview import Backend
from emulab.model.addresses import is_address, parse_address, socket_name
from emulab.plan.proxy.intents import backends, usable


def backend_port(service: Service, wanted: int | str) -> ServicePort | None:
    """The port of a Service that a backend means: the first with this number, name or targetPort; one by TCP before
    others, as requests come by it."""
    text = str(wanted)
    meant = (p for p in service.ports if text in (str(p.port), p.name, str(p.target_port)))
    return min(meant, key=lambda p: p.protocol != "TCP", default=None)


def cluster_port(service: Service, wanted: int | str) -> int:
    """The port of the cluster IP that is asked by who says that the Service is; 0 where there is no cluster IP, or no
    port of this name, and the endpoints are asked all the same."""
    if service.headless or not service.cluster_ips:
        return 0
    if isinstance(wanted, int):
        return wanted
    return next((p.port for p in service.ports if p.name == wanted), 0)


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


class WhomToAsk(NamedTuple):
    """Whom to ask."""

    addresses: tuple[str, ...]  # `HOST:PORT` of each
    behind: int = 0  # how many endpoints connections to the only one are with, one each; 0: with one, or none


def servers_of(
    service: Service,
    wanted: int | str,
    slices: Sequence[EndpointSlice],
    through_service: bool,
    said: bool = False,
) -> WhomToAsk:
    """Those of a Service: its cluster IP or each ready endpoint; none where nobody is there to answer.

    `said`: whether it is said of this Service, or of all, that the cluster IP is asked, which then is, come what may.
    """
    if said and (number := cluster_port(service, wanted)):
        port = next((p for p in service.ports if p.port == number and p.protocol == "TCP"), None)
        address = socket_name(service.cluster_ips[0], number)
        return WhomToAsk((address,), _endpoints_behind(service, port, slices))
    port = backend_port(service, wanted)
    found = tuple(_of_port(service, port, slices, through_service)) if port is not None else ()
    return WhomToAsk(found, _endpoints_behind(service, port, slices) if found and through_service else 0)


def _of_port(
    service: Service, port: ServicePort, slices: Iterable[EndpointSlice], through_service: bool
) -> list[str]:
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


def _endpoints_behind(service: Service, port: ServicePort | None, slices: Iterable[EndpointSlice]) -> int:
    """How many endpoints connections to the cluster IP are with, one each; 0 where all are with a single one."""
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
