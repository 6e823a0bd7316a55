"""The requests that manifests suggest: every way to every Service port, and every Ingress path. Pure.

A cluster IP is asked by name from a pod on another node than the endpoints, by number from a node, and by an
endpoint itself; node ports, on a node with and on one without an endpoint, and balancers' addresses from outside;
addresses from outside also by a pod, which takes a short-cut. And two that nobody serves: a port, and an address.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.core.serviceview import Service, ServicePort, ingress_ips
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.images import server_of
from emulab.kinds.installed import (
    API_NAMESPACE,
    API_SERVICE,
    DNS_NAMESPACE,
    INGRESS_NAME,
    INGRESS_NAMESPACE,
)
from emulab.kinds.networking.ingresscontrollers import controllers
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.listening import listening_addresses
from emulab.kinds.networking.servernames import is_secured, server_names
from emulab.kinds.registry import CLIENT, INGRESS, LOAD_BALANCER, NODE, POD, SERVICE
from emulab.model.addresses import socket_name, url_host
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.model.selectors import matches_labels
from emulab.twins.asks import Ask, ask
from emulab.twins.patterns import path_of_pattern

UNUSED_PORT = 4444
_UNASKED = {SERVICE.key(INGRESS_NAMESPACE, INGRESS_NAME), SERVICE.key(API_NAMESPACE, API_SERVICE)}
"""Services that the world's own balancers ask, and one that nobody serves."""


def derive(objects: Objects) -> list[Ask]:
    """The requests for a lab with these objects, each once, in the order of the Services and Ingresses."""
    found = _Deriving(objects)
    texts: dict[str, str] = {}
    for what, text in [*found.services(), *found.balancers(), *found.ingresses(), *found.unserved()]:
        texts.setdefault(text, what)
    return [ask(text, what=what) for text, what in texts.items()]


class _Deriving:
    """The places of a lab that ask, and what they ask."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._nodes = {o.name: str(o.status["address"]) for o in objects.kind(NODE)}
        pods = sorted((p for p in objects.kind(POD) if p.status.get("podIP")), key=lambda p: p.key)
        own = [p for p in pods if p.namespace not in (DNS_NAMESPACE, INGRESS_NAMESPACE)]
        self._pods = own or pods
        self._all_pods = pods
        clients = sorted(o.name for o in objects.kind(CLIENT))
        self._client = "client" if "client" in clients else clients[0] if clients else ""
        self._services = [o for o in objects.kind(SERVICE) if o.key not in _UNASKED]

    def services(self) -> Iterator[tuple[str, str]]:
        """The requests for each Service, each with what of the Service it tries."""
        for o in self._services:
            service = Service.of(o)
            if service.type == "ExternalName":
                continue
            backends = self._backends(service)
            for port in service.ports:
                if port.protocol in ("TCP", "UDP"):
                    yield from self._internal(service, port, backends)
                    yield from self._external(o, service, port, backends)

    def balancers(self) -> Iterator[tuple[str, str]]:
        """The requests for each port of the balancers before Services that aren't these Services' own."""
        services = {o.key: Service.of(o) for o in self._services}
        for o in self._objects.kind(LOAD_BALANCER) if self._client else ():
            balancer = LoadBalancer.of(o)
            service = services.get(SERVICE.key(balancer.target.namespace, balancer.target.service))
            if service is None or balancer.target.ingress:
                continue
            for protocol, number in balancer.sockets:
                port = ServicePort.of({"protocol": protocol, "port": number})
                backends = self._backends(service)
                for vip in listening_addresses(self._objects, o):
                    yield "balancer", f"{self._client}={_target(str(vip), port, backends)}"

    def _internal(
        self, service: Service, port: ServicePort, backends: Sequence[Object]
    ) -> Iterator[tuple[str, str]]:
        name = f"{service.name}.{service.namespace}"
        far = self._far(backends)
        if far:
            what = "headless" if service.headless else "cluster IP from a pod"
            yield what, f"{_source(far)}={_target(name, port, backends)}"
        if service.headless:
            return
        own = [p for p in backends if p in self._pods and p is not far][:1]
        yield from (
            ("cluster IP from its endpoint", f"{_source(p)}={_target(name, port, backends)}") for p in own
        )
        for address in service.cluster_ips:
            for node in list(self._nodes)[:1]:
                yield "cluster IP from a node", f"{node}={_target(str(address), port, backends)}"

    def _external(
        self, o: Object, service: Service, port: ServicePort, backends: Sequence[Object]
    ) -> Iterator[tuple[str, str]]:
        far = self._far(backends)
        if port.node_port and self._client:
            at_port = ServicePort.of({"protocol": port.protocol, "port": port.node_port})
            for node in self._two_nodes(backends):
                yield "node port", f"{self._client}={_target(self._nodes[node], at_port, backends)}"
        for address in ingress_ips(o) if service.type == "LoadBalancer" else ():
            if self._client:
                yield "balancer", f"{self._client}={_target(address, port, backends)}"
            if far:
                yield "balancer from a pod", f"{_source(far)}={_target(address, port, backends)}"
        for ip in service.external_ips:
            if far:
                yield "external IP", f"{_source(far)}={_target(str(ip), port, backends)}"

    def ingresses(self) -> Iterator[tuple[str, str]]:
        """The requests for each host and path of each Ingress."""
        balancers = {o.name: str(o.status.get("vip") or "") for o in self._objects.kind(LOAD_BALANCER)}
        ingresses = [Ingress.of(o) for o in self._objects.kind(INGRESS)]
        names = server_names(ingresses, lambda *_: None)
        regular = self._regular_hosts(ingresses)
        for ingress in ingresses:
            for rule in ingress.rules if self._client else ():
                host = rule.host.replace("*", "www", 1) or balancers.get(ingress.load_balancer, "")
                scheme = "https" if is_secured(names, rule.host) else "http"
                for path in rule.paths if host else ():
                    drawn = path_of_pattern(path.path) if rule.host in regular else None
                    asked = drawn or path.path or "/"
                    yield "ingress", f"{self._client}={scheme}://{url_host(host)}{asked}"

    def _regular_hosts(self, ingresses: Sequence[Ingress]) -> set[str]:
        """The hosts whose paths are regular expressions, all of them if one Ingress asks for it."""
        asking = {
            f"{one.flags.annotations_prefix}/{name}"
            for one in controllers(self._objects)
            for name in ("use-regex", "rewrite-target")
        }
        return {
            rule.host
            for ingress in ingresses
            if any(ingress.annotations.get(name, "false") != "false" for name in asking)
            for rule in ingress.rules
        }

    def unserved(self) -> Iterator[tuple[str, str]]:
        """A port, and an address, that no Service has."""
        given = [Service.of(o) for o in self._services if o.namespace != DNS_NAMESPACE]
        used = {str(ip) for o in self._objects.kind(SERVICE) for ip in Service.of(o).cluster_ips}
        sources = [*([_source(self._pods[0])] if self._pods else ()), *list(self._nodes)[:1]]
        with_address = [s for s in given if s.cluster_ips]
        if with_address:
            ports = {p.port for p in with_address[0].ports}
            free = next(p for p in range(UNUSED_PORT, 65536) if p not in ports)
            for source in sources:
                yield "unused port", f"{source}={socket_name(with_address[0].cluster_ips[0], free)}"
        network = cluster_of(self._objects).service_cidrs[0]
        last = next(a for n in range(2, 99) if (a := str(network[-n])) not in used)
        yield from (("unused address", f"{source}={socket_name(last, 80)}") for source in sources[:1])

    def _backends(self, service: Service) -> list[Object]:
        if not service.selector:
            return []
        return [
            p
            for p in self._all_pods
            if p.namespace == service.namespace and matches_labels(service.selector, p.labels)
        ]

    def _far(self, backends: Sequence[Object]) -> Object | None:
        """A pod that asks: best one that is no endpoint, on a node without one."""
        own = {p.key for p in backends}
        near = {p.spec.get("nodeName") for p in backends}
        ranked = sorted(self._pods, key=lambda p: (p.key in own, p.spec.get("nodeName") in near))
        return ranked[0] if ranked else None

    def _two_nodes(self, backends: Sequence[Object]) -> list[str]:
        """A node with an endpoint and one without, as far as there are."""
        near = {p.spec.get("nodeName") for p in backends}
        with_one = [n for n in self._nodes if n in near][:1]
        return with_one + [n for n in self._nodes if n not in near][:1] or list(self._nodes)[:1]


def _source(pod: Object) -> str:
    return f"pod/{pod.name}" if pod.namespace == "default" else f"{pod.namespace}.{pod.name}"


def _target(host: str, port: ServicePort, backends: Sequence[Object]) -> str:
    if port.protocol == "UDP":
        return f"{socket_name(host, port.port)}/udp"
    if not all(map(_speaks_http, backends)):
        return socket_name(host, port.port)
    return f"http://{url_host(host)}/" if port.port == 80 else f"http://{socket_name(host, port.port)}/"


def _speaks_http(pod: Object) -> bool:
    """Whether all of a pod are stand-ins, which answer HTTP at every TCP port."""
    return not any(c.command or server_of(c.image) for c in PodSpec.of_pod(pod).containers)
