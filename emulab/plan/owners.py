"""Whose an address and port are: the object that a packet's header stands for, in words. Pure.

Asked for the few addresses that one request met, after it met them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from typing import Any

from emulab.model.clusters import LoadBalancer
from emulab.model.collection import Objects
from emulab.model.ingresses import Ingress, tls_pair
from emulab.model.objects import Key, Object
from emulab.model.selectors import matches_labels
from emulab.model.services import Service, ServicePort
from emulab.plan.addressing import ingress_ips, is_internal
from emulab.plan.endpoints import service_routes
from emulab.plan.state import Address, Neighbour, Route, World
from emulab.plan.system import INGRESS_NAME, INGRESS_NAMESPACE

Question = tuple[str, str, int]
"""Protocol, address and port. With protocol "" and port 0: whose the address is.

Instead of a protocol also, with what is in the address's stead: `host`: which Ingress has a host; `upstream`: which
Service an ingress calls `NAMESPACE/SERVICE/PORT`; `pods`: which node an address is set aside for; `place`: how a
place's links and routes were planned; `like`: names that are much like one.
"""


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
        elif protocol == "pods":
            owner = index.pods(address)
        elif protocol == "place":
            owner = planned(world, address)
        elif protocol == "like":
            owner = index.like(address)
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
        self._routes = service_routes(objects)
        for route in self._routes:
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
            return self._balancer(balancer)
        place = self._places.get(address)
        if place is None:
            return None
        kind = {"node": "Node", "client": "Client", "balancer": "LoadBalancer"}.get(place.kind, place.kind)
        return Owner(kind, "", place.name, place.name if kind != "Node" else f"node {place.name}")

    def service(self, protocol: str, address: str, port: int) -> Owner | None:
        """Which Service port an address and port are, or which port of a balancer."""
        balancer = self._balancers.get(address)
        if balancer is not None and balancer.kind == "LoadBalancer":
            return self._balancer(balancer, protocol, port)
        entries = self._services.get((protocol, address))
        if entries is None and balancer is not None:  # nodes know it by its node port alone
            return self._balancer(balancer, protocol, port)
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
            text = f"Service {namespace}/{service_name}"
            return Owner("Service", namespace, service_name, text, {"missing": True})
        service = Service.of(o)
        if service.type == "ExternalName":
            text = f"Service {_short(o)}"
            return Owner("Service", namespace, service_name, text, {"external_name": service.external_name})
        for route in self._routes:
            if (route.namespace, route.name) == (namespace, service_name) and port in (
                str(route.port.port),
                route.port.name,
            ):
                return self._port(service, route.port, len(route.targets), f"port {_port_name(route.port)}")
        return self._unknown_port(service, port)

    def host(self, name: str) -> Owner | None:
        """The Ingress that has a host, with the Secret of its certificate and its paths."""
        for o in self._objects.kind("Ingress"):
            ingress = Ingress.of(o)
            if name not in {r.host for r in ingress.rules} | {h for t in ingress.tls for h in t.hosts}:
                continue
            secrets = [t.secret for t in ingress.tls if name in t.hosts or not t.hosts]
            found = self._objects.get(Key("Secret", ingress.namespace, secrets[0])) if secrets else None
            details = {
                "secret": f"Secret {ingress.namespace}/{secrets[0]}" if secrets else "",
                "exists": found is not None,
                "usable": found is not None and tls_pair(found) is not None,
                "paths": [
                    f"{p.path} ({p.path_type})" for r in ingress.rules if r.host == name for p in r.paths
                ],
            }
            return Owner("Ingress", ingress.namespace, ingress.name, f"Ingress {_short(o)}", details)
        return None

    def pods(self, address: str) -> Owner | None:
        """The node whose pods have addresses like this one; None for an address of no node's."""
        for node in self._objects.kind("Node"):
            ranges = node.spec.get("podCIDRs") or ()
            if any(ip_address(address) in ip_network(r) for r in ranges):
                return Owner("Node", "", node.name, f"{node.name}'s pods", {"ranges": list(ranges)})
        return None

    def like(self, name: str) -> Owner | None:
        """The names of hosts and Services that are much like this one."""
        hosts = {r.host for o in self._objects.kind("Ingress") for r in Ingress.of(o).rules if r.host}
        services = {o.name for o in self._objects.kind("Service")} | {
            f"{o.name}.{o.namespace}" for o in self._objects.kind("Service")
        }
        near = get_close_matches(name, sorted(hosts | services), 3, 0.7)
        return Owner("names", "", name, name, {"near": near}) if near else None

    def _port(self, service: Service, port: ServicePort, endpoints: int, where: str) -> Owner:
        text = f"Service {service.namespace}/{service.name} {where}"
        details = {
            **self._pods_of(service),
            "endpoints": endpoints,
            "target_port": f"{port.target_port}/{port.protocol}",
            "index": next((i for i, p in enumerate(service.ports) if p == port), 0),
        }
        return Owner("Service", service.namespace, service.name, text, details)

    def _unknown_port(self, service: Service, port: int | str) -> Owner:
        text = f"Service {service.namespace}/{service.name}"
        ports = [f"{_port_name(p)}/{p.protocol}" for p in service.ports]
        return Owner("Service", service.namespace, service.name, text, {"unknown_port": port, "ports": ports})

    def _balancer(self, o: Object, protocol: str = "tcp", port: int = 0) -> Owner:
        """A LoadBalancer, or a Service of that type; `behind` is the Service port that a port of it leads to."""
        service: Service | None
        if o.kind == "Service":
            service = Service.of(o)
            ranges = [str(r) for r in service.load_balancer_source_ranges]
            name, text = o.name, f"Service {_short(o)}"
            behind = next(
                (p for p in service.ports if (p.protocol.lower(), p.port) == (protocol, port)), None
            )
        else:
            balancer = LoadBalancer.of(o)
            ranges = [str(r) for r in balancer.source_ranges]
            name, text = o.name, f"LoadBalancer {o.name}" + (f" port {port}" if port else "")
            target = balancer.target
            key = (INGRESS_NAMESPACE, INGRESS_NAME) if target.ingress else (target.namespace, target.service)
            found = self._objects.get(Key("Service", *key))
            service = Service.of(found) if found else None
            wanted = port if target.ingress else target.port
            ports = service.ports if service else ()
            behind = next((p for p in ports if wanted in (p.port, p.name)), None)
        details: dict[str, Any] = {"source_ranges": ranges}
        if o.kind == "LoadBalancer":
            details["ports"] = list(LoadBalancer.of(o).ports)
        if service is not None and behind is not None:
            served = next(
                (
                    len(r.targets)
                    for r in self._routes
                    if (r.namespace, r.name, r.port) == (service.namespace, service.name, behind)
                ),
                0,
            )
            details["behind"] = self._port(service, behind, served, f"port {_port_name(behind)}").to_json()
        return Owner(o.kind, o.namespace if o.kind == "Service" else "", name, text, details)

    def _pods_of(self, service: Service) -> dict[str, Any]:
        if not service.selector:
            return {"selector": {}}
        pods = [
            o
            for o in self._objects.kind("Pod", service.namespace)
            if matches_labels(service.selector, o.labels) and not o.metadata.get("deletionTimestamp")
        ]
        ready = [o for o in pods if _is_ready(o)]
        ports = {
            f"{p['containerPort']}/{p.get('protocol') or 'TCP'}"
            + (f" ({p['name']})" if p.get("name") else "")
            for o in pods
            for c in o.spec.get("containers") or ()
            for p in c.get("ports") or ()
        }
        waiting = [o.name for o in pods if not _is_ready(o)]
        return {
            "selector": dict(service.selector),
            "pods": len(pods),
            "ready": len(ready),
            "names": waiting or [o.name for o in pods],
            "pod_ports": sorted(ports),
        }


def _is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions") or ())


def _short(o: Object) -> str:
    return f"{o.namespace}/{o.name}"


def _port_name(port: ServicePort) -> str:
    return f"{port.port} ({port.name})" if port.name else str(port.port)


def planned(world: World, name: str) -> Owner | None:
    """How a place's links and routes were planned, as the commands that make them again.

    `restore`: what goes with each link when it is switched off; `routes`: each route's prefix and command.
    """
    place = world.places.get(name)
    if place is None:
        return None
    restore: dict[str, list[str]] = {}
    routes: list[tuple[str, str]] = []
    own = [
        i for i in world.network.items if isinstance(i, Route | Neighbour) and i.namespace == place.namespace
    ]
    for item in sorted(own, key=str):
        if isinstance(item, Neighbour):
            command = f"ip neigh replace {item.address} lladdr {item.mac} dev {item.link} nud permanent"
        else:
            command = f"ip route replace {_route(item)}"
            routes.append((str(item.destination), command))
        restore.setdefault(item.link, []).append(command)
    return Owner("place", "", name, name, {"restore": restore, "routes": routes})


def _route(route: Route) -> str:
    words = [str(route.destination)]
    if route.gateway:
        words += ["via", str(route.gateway)]
    words += ["dev", route.link]
    if route.source:
        words += ["src", str(route.source)]
    return " ".join([*words, "onlink"] if route.onlink else words)
