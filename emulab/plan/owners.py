"""Whose an address and port are: the object that a packet's header stands for, in words. Pure.

Asked for the few addresses that one request met, after it met them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from emulab.model.clusters import LoadBalancer
from emulab.model.collection import Objects
from emulab.model.ingresses import Ingress
from emulab.model.objects import Key, Object
from emulab.model.selectors import matches_labels
from emulab.model.services import Service, ServicePort
from emulab.plan.addressing import ingress_ips, is_internal
from emulab.plan.endpoints import service_routes
from emulab.plan.state import Address, World

Question = tuple[str, str, int]
"""Protocol, address and port. With protocol "" and port 0: whose the address is; with `host`, which Ingress has
that host; with `upstream` and `NAMESPACE/SERVICE/PORT`, which Service that is."""


@dataclass(frozen=True, slots=True)
class Owner:
    """An object, as people write it, and what explains a failure of it."""

    kind: str
    namespace: str
    name: str
    text: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def owners(objects: Objects, world: World, questions: Iterable[Question]) -> dict[Question, Owner]:
    """Answers those questions that have an answer."""
    index = _Index(objects, world)
    found: dict[Question, Owner] = {}
    for question in questions:
        protocol, address, port = question
        if protocol == "":
            owner = index.address(address)
        elif protocol == "host":
            owner = index.host(address)
        elif protocol == "upstream":
            owner = index.upstream(address)
        else:
            owner = index.service(protocol, address, port)
        if owner is not None:
            found[question] = owner
    return found


class _Index:
    def __init__(self, objects: Objects, world: World) -> None:
        self._objects = objects
        self._pods = {e["ip"]: o for o in objects.kind("Pod") for e in o.status.get("podIPs") or ()}
        self._places = {str(a): p for p in world.places.values() if p.kind != "pod" for a in p.addresses}
        # Addresses that no place is told of: a node's end of the overlay, which it masquerades with.
        node_namespaces = {p.namespace: p for p in world.places.values() if p.kind == "node"}
        for item in world.network.items:
            if isinstance(item, Address) and item.namespace in node_namespaces:
                self._places.setdefault(str(item.address.ip), node_namespaces[item.namespace])
        self._services: dict[tuple[str, str], list[tuple[Service, ServicePort, int]]] = {}
        self._node_ports: dict[tuple[str, int], tuple[Service, ServicePort, int]] = {}
        self._balancers: dict[str, Object] = {}
        by_key = {(o.namespace, o.name): Service.of(o) for o in objects.kind("Service")}
        for route in service_routes(objects):
            service = by_key[route.namespace, route.name]
            entry = (service, route.port, len(route.targets))
            for ip in (*route.cluster_ips, *route.external_ips):
                self._services.setdefault((route.port.protocol.lower(), str(ip)), []).append(entry)
            if route.node_port:
                self._node_ports[route.port.protocol.lower(), route.node_port] = entry
        for o in objects.kind("LoadBalancer"):
            if o.status.get("vip"):
                self._balancers[str(o.status["vip"])] = o
        for o in objects.kind("Service"):
            if o.spec.get("type") == "LoadBalancer" and not is_internal(o):
                self._balancers |= dict.fromkeys(ingress_ips(o), o)

    def address(self, address: str) -> Owner | None:
        """Whose an address is, whatever the port."""
        pod = self._pods.get(address)
        if pod is not None and not pod.spec.get("hostNetwork"):
            details = {"node": pod.spec.get("nodeName")}
            return Owner("Pod", pod.namespace, pod.name, f"pod {_short(pod)}", details)
        balancer = self._balancers.get(address)
        if balancer is not None:
            return _balancer(balancer)
        place = self._places.get(address)
        if place is None:
            return None
        kind = {"node": "Node", "client": "Client", "balancer": "LoadBalancer"}.get(place.kind, place.kind)
        return Owner(kind, "", place.name, place.name if kind != "Node" else f"node {place.name}")

    def service(self, protocol: str, address: str, port: int) -> Owner | None:
        """Which Service port an address and port are, or which port of a balancer."""
        balancer = self._balancers.get(address)
        if balancer is not None and balancer.kind == "LoadBalancer":
            return _balancer(balancer, port)
        entries = self._services.get((protocol, address))
        for service, service_port, count in entries or ():
            if service_port.port == port:
                return self._port(service, service_port, count, f"port {_port_name(service_port)}")
        if entries:
            return self._unknown_port(entries[0][0], port)
        place = self._places.get(address)
        if place is not None and place.kind == "node" and (protocol, port) in self._node_ports:
            service, service_port, count = self._node_ports[protocol, port]
            return self._port(
                service, service_port, count, f"port {_port_name(service_port)} (node port {port})"
            )
        return None

    def upstream(self, name: str) -> Owner | None:
        """The Service that an ingress calls `NAMESPACE/SERVICE/PORT`."""
        namespace, _, rest = name.partition("/")
        service_name, _, port = rest.partition("/")
        o = self._objects.get(Key("Service", namespace, service_name))
        if o is None:
            return None
        service = Service.of(o)
        for route in service_routes(self._objects):
            if (route.namespace, route.name) == (namespace, service_name) and port in (
                str(route.port.port),
                route.port.name,
            ):
                return self._port(service, route.port, len(route.targets), f"port {_port_name(route.port)}")
        return self._unknown_port(service, port)

    def host(self, name: str) -> Owner | None:
        """The Ingress that has a host, and the Secret of its certificate."""
        for o in self._objects.kind("Ingress"):
            ingress = Ingress.of(o)
            if name not in {r.host for r in ingress.rules} | {h for t in ingress.tls for h in t.hosts}:
                continue
            secrets = [t.secret for t in ingress.tls if name in t.hosts or not t.hosts]
            exists = secrets and self._objects.get(Key("Secret", ingress.namespace, secrets[0])) is not None
            secret = f"Secret {ingress.namespace}/{secrets[0]}" if secrets else ""
            details = {"secret": secret, "exists": bool(exists)}
            return Owner("Ingress", ingress.namespace, ingress.name, f"Ingress {_short(o)}", details)
        return None

    def _port(self, service: Service, port: ServicePort, endpoints: int, where: str) -> Owner:
        text = f"Service {service.namespace}/{service.name} {where}"
        details = {**self._pods_of(service), "endpoints": endpoints, "target_port": port.target_port}
        return Owner("Service", service.namespace, service.name, text, details)

    def _unknown_port(self, service: Service, port: int | str) -> Owner:
        text = f"Service {service.namespace}/{service.name}"
        details = {"unknown_port": port, "ports": [p.port for p in service.ports]}
        return Owner("Service", service.namespace, service.name, text, details)

    def _pods_of(self, service: Service) -> dict[str, Any]:
        if not service.selector:
            return {"selector": {}}
        pods = [
            o
            for o in self._objects.kind("Pod", service.namespace)
            if matches_labels(service.selector, o.labels) and not o.metadata.get("deletionTimestamp")
        ]
        ready = [o for o in pods if _is_ready(o)]
        waiting = [o.name for o in pods if not _is_ready(o)]
        return {
            "selector": dict(service.selector),
            "pods": len(pods),
            "ready": len(ready),
            "names": waiting or [o.name for o in pods],
        }


def _is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions") or ())


def _short(o: Object) -> str:
    return f"{o.namespace}/{o.name}"


def _port_name(port: ServicePort) -> str:
    return f"{port.port} ({port.name})" if port.name else str(port.port)


def _balancer(o: Object, port: int = 0) -> Owner:
    if o.kind == "Service":
        ranges = [str(r) for r in Service.of(o).load_balancer_source_ranges]
        return Owner("Service", o.namespace, o.name, f"Service {_short(o)}", {"source_ranges": ranges})
    ranges = [str(r) for r in LoadBalancer.of(o).source_ranges]
    text = f"LoadBalancer {o.name}" + (f" port {port}" if port else "")
    return Owner("LoadBalancer", "", o.name, text, {"source_ranges": ranges})
