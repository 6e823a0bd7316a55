"""Whose an address and port are: the object that a packet's header stands for, in words. Pure.

Asked for the few addresses that one request met, after it met them.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from typing import Any

from emulab.kinds.core.serviceview import Service, ServicePort, ingress_ips, is_internal
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.kind import WORKLOAD
from emulab.kinds.networking.ingresscontrollers import the_labs_ingress
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.registry import FAULT, INGRESS, KINDS, LOAD_BALANCER, NODE, POD, SERVICE
from emulab.kinds.underlay import virtual_addresses
from emulab.model.collection import Objects
from emulab.model.families import family_of
from emulab.model.objects import Object
from emulab.model.selectors import matches_labels
from emulab.plan.cni.blocks import own_ranges
from emulab.plan.cni.hostports import host_ports
from emulab.plan.cni.speakers import BGP
from emulab.plan.hostowner import host_owner
from emulab.plan.links import Address, Neighbour, Route
from emulab.plan.mesh import expanded
from emulab.plan.owner import Owner
from emulab.plan.proxy.intents import Candidates, usable
from emulab.plan.proxy.modes import MODES
from emulab.plan.proxy.ports import candidates
from emulab.plan.publishednames import published
from emulab.plan.state import World
from emulab.servers.bgp.config import BgpConfig

OwnerQuestion = tuple[str, str, int]
"""Protocol, address and port. With protocol "" and port 0: whose the address is.

Instead of a protocol also, with what is in the address's stead: `host`: which Ingress has a host; `upstream`: which
Service an ingress calls `NAMESPACE/SERVICE/PORT`; `pods`: which node an address is set aside for; `place`: how a
place's links and routes were planned; `like`: names that are much like one; `published`: the addresses that a name has
outside the cluster; `faults`: what is broken on purpose; `links`: links between zones that lose packets.
"""


def owners(objects: Objects, world: World, questions: Iterable[OwnerQuestion]) -> dict[OwnerQuestion, Owner]:
    """The answers to those of the questions that have one."""
    index = _Index(objects, world)
    found: dict[OwnerQuestion, Owner] = {}
    for question in questions:
        protocol, address, port = question
        if protocol == "":
            owner = index.address(address)
        elif protocol == "host":
            owner = host_owner(objects, address)
        elif protocol == "upstream":
            owner = index.upstream(address)
        elif protocol == "pods":
            owner = index.pods(address)
        elif protocol == "place":
            owner = planned(world, address)
        elif protocol == "published":
            owner = published(world, address)
        elif protocol == "faults":
            owner = _faults(objects)
        elif protocol == "links":
            owner = _lossy(objects)
        elif protocol == "like":
            owner = index.like(address)
        else:
            owner = index.service(protocol, address, port)
        if owner is not None:
            found[question] = owner
    return found


def _faults(objects: Objects) -> Owner | None:
    if not objects.members(FAULT):
        return None
    from emulab.plan.faults.told import faults_at_work

    return faults_at_work(objects)


def _lossy(objects: Objects) -> Owner | None:
    cluster = cluster_of(objects)
    if not cluster.links:
        return None
    from emulab.plan.farzones import lossy_links

    return lossy_links(cluster)


class _Index:
    def __init__(self, objects: Objects, world: World) -> None:
        self._objects = objects
        self._pods = {e["ip"]: o for o in objects.kind(POD) for e in o.status.get("podIPs") or ()}
        # Of the nodes between which a balancer's addresses move, the first has its name.
        fixed = [p for p in world.places.values() if p.kind != "pod"]
        self._places = {str(a): p for p in reversed(fixed) for a in p.addresses}
        # Addresses that no place is told of: a node's end of the overlay, which it masquerades with.
        node_namespaces = {p.namespace: p for p in world.places.values() if p.kind == "node"}
        for item in world.network.items:
            if isinstance(item, Address) and item.namespace in node_namespaces:
                self._places.setdefault(str(item.address.ip), node_namespaces[item.namespace])
        if cluster_of(objects).chain:  # the address that plug-ins give the node as its pods' router
            for node in objects.kind(NODE):
                for given in node.spec.get("podCIDRs") or () if node.name in world.places else ():
                    self._places.setdefault(str(ip_network(given)[1]), world.places[node.name])
        self._services: dict[str, list[Candidates]] = {}  # by address
        self._node_ports: dict[tuple[str, int], Candidates] = {}
        mapped = objects.facts(POD, host_ports).values()
        self._host_ports = {(p.node, p.protocol, p.number): p.pod for ports in mapped for p in ports}
        self._balancers: dict[str, Object] = {}
        cluster = cluster_of(objects)
        self._ports = candidates(objects, cluster.families, MODES[cluster.proxy_mode].heeds)
        for c in self._ports:
            protocol = c.port.protocol.lower()
            for ip in (*c.cluster_ips, *c.external_ips, *c.balancer_ips):
                self._services.setdefault(str(ip), []).append(c)
            if c.port.node_port:
                self._node_ports[protocol, c.port.node_port] = c
        pods = {
            p.name for p in world.places.values() if p.kind == "pod"
        }  # which may serve on a node's network
        on_nodes = (s for s in world.servers.values() if s.kind == "l4" and s.namespace in node_namespaces)
        nodes = (s for s in on_nodes if s.name.partition("/")[0] not in pods)
        self._processes = {socket: s.namespace for s in nodes for socket in s.listen}
        for o in objects.kind(LOAD_BALANCER):
            self._balancers |= dict.fromkeys(map(str, virtual_addresses(o)), o)
        for o in objects.kind(SERVICE):
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
        if balancer is not None and balancer.type == LOAD_BALANCER:
            return self._balancer(balancer, protocol, port)
        entries = self._services.get(address, [])
        same = [c for c in entries if c.port.protocol.lower() == protocol]
        if not same and balancer is not None:  # nodes know it by its node port alone
            return self._balancer(balancer, protocol, port)
        for c in same:
            if c.port.port == port:
                return self._port(c, address)
        place = self._places.get(address)
        if place is not None and place.kind == "node":
            # Services may have ports of it as an external address, too, but not those that they don't name.
            if (protocol, port) in self._node_ports:
                return self._port(self._node_ports[protocol, port], address, f" (node port {port})")
            if (pod := self._host_ports.get((place.name, protocol, port))) is not None:
                namespace, _, name = pod.partition("/")
                return Owner("Pod", namespace, name, f"host port {port} of pod {pod}", {"node": place.name})
        elif entries:
            other = any(c.port.port == port for c in entries)  # this very port, but of another protocol
            missing = f"{port}/{protocol.upper()}" if other else port
            return self._unknown_port((same or entries)[0].service, missing)
        node = self._processes.get(f"{protocol}/{address}/{port}")
        return Owner("Node", "", node, f"kube-proxy of {node}") if node else None

    def upstream(self, name: str) -> Owner | None:
        """The Service that an ingress calls `NAMESPACE/SERVICE/PORT`."""
        namespace, _, rest = name.partition("/")
        service_name, _, port = rest.partition("/")
        o = self._objects.get(SERVICE.key(namespace, service_name))
        if o is None:
            text = f"Service {namespace}/{service_name}"
            return Owner("Service", namespace, service_name, text, {"missing": True})
        service = Service.of(o)
        if service.type == "ExternalName":
            text = f"Service {_short(o)}"
            return Owner("Service", namespace, service_name, text, {"external_name": service.external_name})
        for c in self._ports_of(namespace, service_name):
            if port in (str(c.port.port), c.port.name, str(c.port.target_port)):
                return self._port(c)
        return self._unknown_port(service, port)

    def pods(self, address: str) -> Owner | None:
        """The node whose pods have addresses like this one; None for an address of no node's."""
        cluster = cluster_of(self._objects)
        for node in self._objects.kind(NODE):
            if any(ip_address(address) in own for own in own_ranges(cluster, node)):
                return Owner("Node", "", node.name, f"{node.name}'s pods")
        return None

    def like(self, name: str) -> Owner | None:
        """The names of hosts and Services that are much like this one."""
        hosts = {r.host for o in self._objects.kind(INGRESS) for r in Ingress.of(o).rules if r.host}
        services = {o.name for o in self._objects.kind(SERVICE)} | {
            f"{o.name}.{o.namespace}" for o in self._objects.kind(SERVICE)
        }
        near = get_close_matches(name, sorted(hosts | services), 3, 0.7)
        details = {**({"near": near} if near else {}), **self._called(name)}
        return Owner("names", "", name, name, details) if details else None

    def _called(self, name: str) -> dict[str, str]:
        """The Service that a name is one of in the cluster."""
        domain = cluster_of(self._objects).cluster_domain
        labels = name.rstrip(".").removesuffix(f".{domain}").removesuffix(".svc").split(".")
        for o in self._objects.kind(SERVICE):
            if labels in ([o.name], [o.name, o.namespace]):
                return {"service": f"Service {_short(o)}"}
        return {}

    def _ports_of(self, namespace: str, name: str) -> list[Candidates]:
        return [c for c in self._ports if (c.service.namespace, c.service.name) == (namespace, name)]

    def _port(self, c: Candidates, address: str = "", more: str = "") -> Owner:
        """A Service port; `address` is what it was reached by, which says what policy and ranges hold."""
        service, port = c.service, c.port
        text = f"Service {service.namespace}/{service.name} port {_port_name(port)}{more}"
        details = {
            **self._pods_of(service),
            "endpoints": len(usable(c.backends)),
            "target_port": f"{port.target_port}/{port.protocol}",
            "index": next((i for i, p in enumerate(service.ports) if p == port), 0),
        }
        internal = address in map(str, service.cluster_ips)
        policy = service.internal_traffic_policy if internal else service.external_traffic_policy
        if address and policy == "Local":
            local = {b.node for b in c.backends if b in usable([x for x in c.backends if x.node == b.node])}
            details["local_policy"] = "internalTrafficPolicy" if internal else "externalTrafficPolicy"
            details["local_nodes"] = sorted(local)
        if address in map(str, c.balancer_ips):
            details["source_ranges"] = [str(r) for r in service.load_balancer_source_ranges]
        return Owner("Service", service.namespace, service.name, text, details)

    def _unknown_port(self, service: Service, port: int | str) -> Owner:
        text = f"Service {service.namespace}/{service.name}"
        ports = [f"{_port_name(p)}/{p.protocol}" for p in service.ports]
        return Owner("Service", service.namespace, service.name, text, {"unknown_port": port, "ports": ports})

    def _balancer(self, o: Object, protocol: str = "tcp", port: int = 0) -> Owner:
        """A LoadBalancer, or a Service of that type; `behind` is the Service port that a port of it leads to."""
        if o.type == SERVICE:
            name, text = o.name, f"Service {_short(o)}"
            details: dict[str, Any] = {
                "source_ranges": [str(r) for r in Service.of(o).load_balancer_source_ranges]
            }
            own = (c for c in self._ports_of(o.namespace, o.name) if c.port.protocol.lower() == protocol)
            behind = next((c for c in own if c.port.port == port), None)
        else:
            balancer = LoadBalancer.of(o)
            name, text = o.name, f"LoadBalancer {o.name}" + (f" port {port}" if port else "")
            details = {
                "source_ranges": [str(r) for r in balancer.source_ranges],
                "ports": [*balancer.ports, *balancer.udp_ports],
            }
            target = balancer.target
            key = (target.namespace, target.service)
            if target.ingress:
                _, front = the_labs_ingress(self._objects)
                key = (front.namespace, front.name) if front is not None else ("", "")
            wanted = port if target.ingress else target.port
            behind = next((c for c in self._ports_of(*key) if wanted in (c.port.port, c.port.name)), None)
        if behind is not None:
            details["behind"] = self._port(behind).to_json()
        return Owner(o.kind, o.namespace if o.type == SERVICE else "", name, text, details)

    def _pods_of(self, service: Service) -> dict[str, Any]:
        if not service.selector:
            return {"selector": {}}
        pods = [
            o
            for o in self._objects.kind(POD, service.namespace)
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
            **({} if pods else self._idle(service)),
            "selector": dict(service.selector),
            "pods": len(pods),
            "ready": len(ready),
            "names": waiting or [o.name for o in pods],
            "pod_ports": sorted(ports),
        }

    def _idle(self, service: Service) -> dict[str, str]:
        """A workload whose pods the Service would have, if it weren't for none."""
        for kind in KINDS.of(WORKLOAD):
            for o in self._objects.kind(kind, service.namespace):
                labels = (o.spec["template"].get("metadata") or {}).get("labels") or {}
                owned = o.metadata.get("ownerReferences")
                if (
                    o.spec.get("replicas") == 0
                    and not owned
                    and matches_labels(service.selector or {}, labels)
                ):
                    return {"idle": f"{o.kind}/{o.name}"}
        return {}


def _is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions") or ())


def _short(o: Object) -> str:
    return f"{o.namespace}/{o.name}"


def _port_name(port: ServicePort) -> str:
    return f"{port.port} ({port.name})" if port.name else str(port.port)


def planned(world: World, name: str) -> Owner | None:
    """How a place's links and routes were planned, as the commands that make them again.

    `restore`: what goes with each link when it is switched off; `routes`: each route's prefix and command; `learned`:
    networks to which it learns its routes by BGP.
    """
    place = world.places.get(name)
    if place is None:
        return None
    restore: dict[str, list[str]] = {}
    routes: list[tuple[str, str]] = []
    own = [i for i in expanded(world.network, place.namespace) if isinstance(i, Route | Neighbour)]
    for item in sorted(own, key=str):
        if isinstance(item, Neighbour):
            command = f"ip neigh replace {item.address} lladdr {item.mac} dev {item.link} nud permanent"
        else:
            command = f"{family_of(item.destination).iproute} route replace {item.words()}"
            routes.append((str(item.destination), command))
        for _, link in item.on():
            restore.setdefault(link, []).append(command)
    speaker = world.servers.get(f"{name}{BGP}")
    learned = speaker.config.pools if speaker is not None and isinstance(speaker.config, BgpConfig) else ()
    more = {"learned": list(learned)} if learned else {}
    return Owner("place", "", name, name, {"restore": restore, "routes": routes, **more})
