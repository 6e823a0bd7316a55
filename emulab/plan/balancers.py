"""The L4 balancers outside the cluster: those asked for, and one for each Service of type LoadBalancer.

A balancer sends to a node port of every node. A Service that has none (`allocateLoadBalancerNodePorts: false`) is for
balancers that know the way to pods, as those of VPC-native clusters do: its balancer has routes to the pods by
their nodes, and the endpoints themselves as targets. That way nodes translate nothing and traffic policies don't count.

Nodes are checked by connecting to the node port; for a Service with `externalTrafficPolicy: Local` by asking its
healthCheckNodePort, which tells at once that a node has no endpoint (and is the only check that UDP can have).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import replace

from emulab.kinds.core.serviceview import Service, ServicePort, ingress_ips, is_internal
from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL, EndpointSlice
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.networking.ingresscontrollers import the_labs_ingress
from emulab.kinds.registry import ENDPOINT_SLICE, LOAD_BALANCER, SERVICE
from emulab.kinds.underlay import underlay_addresses, virtual_addresses
from emulab.model.addresses import IPAddress, IPNetwork, parse_address
from emulab.model.collection import Objects
from emulab.model.families import FAMILIES, Family, families_of, family_of
from emulab.model.objects import Object
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.endpoints import ServiceName, views
from emulab.plan.kept import PlanSource
from emulab.plan.links import Route
from emulab.plan.proxy.intents import backends, service_candidates, usable
from emulab.plan.state import PlannedServer
from emulab.plan.topology import plug_balancer
from emulab.servers.l4.config import FrontendConfig, HealthPolicy, L4Config, TargetConfig

HEALTH = HealthPolicy(interval=1.0, down_interval=0.1, timeout=1.0, rise=1, fall=2)


def plan_balancers(draft: Draft, source: PlanSource, cluster: Cluster, nodes: list[Node]) -> None:
    """Places and configurations of all balancers."""
    for o in source.members(LOAD_BALANCER).values():
        addresses, vips = underlay_addresses(o), virtual_addresses(o)
        if not addresses:
            continue
        balancer = LoadBalancer.of(o)
        plug_balancer(draft, o.name, addresses, vips, cluster)
        service, forwarded = _target(source, balancer)
        frontends = {
            f"tcp/{vip}/{port}": _frontend(vip, node_port, balancer.source_ranges, nodes, service)
            for vip in vips
            for port, node_port in forwarded
        }
        _add_server(draft, o.name, frontends)
    for o in source.facts(SERVICE, _balanced).values():
        _plan_service(draft, source, o, cluster, nodes)


def _balanced(o: Object) -> Object | None:
    """A Service that has a balancer of its own."""
    own = o.spec.get("type") == "LoadBalancer" and o.status.get("address") and not is_internal(o)
    return o if own else None


def _plan_service(draft: Draft, source: PlanSource, o: Object, cluster: Cluster, nodes: list[Node]) -> None:
    """The balancer of a Service of type LoadBalancer."""
    service, place = Service.of(o), service_place(o)
    addresses = underlay_addresses(o)
    vips = [parse_address(ip) for ip in ingress_ips(o)[: len(addresses)]]
    plug_balancer(draft, place, addresses, vips, cluster)
    ports = [p for p in service.ports if p.protocol in ("TCP", "UDP")]
    frontends: dict[str, FrontendConfig] = {}
    for vip in vips:
        for p in ports:
            ranges = service.load_balancer_source_ranges
            frontend = _frontend(vip, p.node_port, ranges, nodes, service)
            if not p.node_port:
                targets = _pods(source, service, p, family_of(vip))
                frontend = replace(frontend, targets=targets, health=HEALTH)
            frontends[f"{p.protocol.lower()}/{vip}/{p.port}"] = frontend
    if not all(p.node_port for p in ports):
        families = families_of(addresses)
        draft.add(*(Route(place, n.pod_range(f), "eth0", n.address(f)) for f in families for n in nodes))
    _add_server(draft, place, frontends)


def _pods(
    source: PlanSource, service: Service, port: ServicePort, family: Family
) -> tuple[TargetConfig, ...]:
    """The endpoints of a Service port as targets."""
    found = usable(backends(views(source.slices((service.namespace, service.name))), port))
    return tuple(
        TargetConfig.nameless(str(t.address), t.port) for t in found if family_of(t.address) is family
    )


def service_place(service: Object) -> str:
    """The place of a LoadBalancer Service's balancer: `lb-NAMESPACE-NAME`, shortened with a hash when long."""
    name = f"lb-{service.namespace}-{service.name}"
    if len(name) <= 63 and "-" not in service.namespace:  # else two Services could have one name
        return name
    return name[:54] + "-" + hashlib.sha256(str(service.key).encode()).hexdigest()[:8]


def _target(source: PlanSource, balancer: LoadBalancer) -> tuple[Service | None, list[tuple[int, int]]]:
    """The Service that a balancer sends to, and its ports with the node port behind each; 0 leads nowhere."""
    if balancer.target.ingress:
        return _ingress(source, balancer)
    o = source.get(SERVICE.key(balancer.target.namespace, balancer.target.service))
    service = Service.of(o) if o else None
    wanted = balancer.target.port
    match = next((p for p in service.ports if wanted in (p.port, p.name)), None) if service else None
    return service, [(port, match.node_port if match else 0) for port in balancer.ports]


def _ingress(source: PlanSource, balancer: LoadBalancer) -> tuple[Service | None, list[tuple[int, int]]]:
    """The Service of the lab's ingress and its node ports; where it has none, ports of nodes that lead to its pods."""
    controller, o = the_labs_ingress(source)
    service = Service.of(o) if o is not None else None
    by_port = {p.port: p.node_port for p in service.ports if p.node_port} if service else {}
    if by_port or controller is None:
        return service, [(port, by_port.get(port, 0)) for port in balancer.ports]
    return None, [(port, controller.node_port(port)) for port in balancer.ports]


def expected_frontends(objects: Objects, servers: Mapping[str, PlannedServer]) -> dict[str, set[str]]:
    """Which frontends of which balancer must find a healthy target: those before a TCP port with endpoints."""
    balancers = {name: s.config.frontends for name, s in servers.items() if isinstance(s.config, L4Config)}
    ports = {t.port for frontends in balancers.values() for f in frontends.values() for t in f.targets}
    served = _served(objects, ports) if ports else set()
    found: dict[str, set[str]] = {}
    for name, frontends in balancers.items():
        expected = {key for key, f in frontends.items() if any(t.port in served for t in f.targets)}
        if expected:
            found[name] = expected
    return found


def _served(objects: Objects, ports: Set[int]) -> set[int]:
    """Which of these node ports of TCP have endpoints behind them."""
    few = [o for o, own in objects.facts(SERVICE, _node_ports).values() if not ports.isdisjoint(own)]
    slices: dict[ServiceName, list[EndpointSlice]] = {(o.namespace, o.name): [] for o in few}
    for o in objects.kind(ENDPOINT_SLICE):
        if (own := slices.get((o.namespace, o.labels.get(SERVICE_NAME_LABEL, "")))) is not None:
            own.append(EndpointSlice.of(o))
    return {
        c.port.node_port
        for o in few
        for family in FAMILIES
        for c in service_candidates(o, slices[o.namespace, o.name], family)
        if c.port.protocol == "TCP" and usable(c.backends)
    }


def _node_ports(o: Object) -> tuple[Object, frozenset[int]] | None:
    found = frozenset(p["nodePort"] for p in o.spec.get("ports") or () if p.get("nodePort"))
    return (o, found) if found else None


def _frontend(
    vip: IPAddress,
    node_port: int,
    sources: tuple[IPNetwork, ...],
    nodes: list[Node],
    service: Service | None,
) -> FrontendConfig:
    own = [(n.name, str(n.address(family_of(vip)))) for n in nodes] if node_port else []
    return FrontendConfig(
        balance="roundrobin",
        targets=tuple(TargetConfig(name, address, node_port) for name, address in own),
        health=_health(service),
        source_ranges=tuple(map(str, sources)),
    )


def _health(service: Service | None) -> HealthPolicy:
    if service is None or not service.health_check_node_port:
        return HEALTH
    # The node itself says so: once is enough.
    return replace(HEALTH, port=service.health_check_node_port, path="/healthz", fall=1)


def _add_server(draft: Draft, place: str, frontends: Mapping[str, FrontendConfig]) -> None:
    config = L4Config.at(frontends)
    draft.servers[place] = PlannedServer(place, "l4", place, config, dict.fromkeys(config.listen, place))
