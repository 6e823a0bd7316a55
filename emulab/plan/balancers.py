"""The L4 balancers outside the cluster: those asked for, and one for each Service of type LoadBalancer.

A balancer sends to a node port of every node, but for those labelled node.kubernetes.io/exclude-from-external-load-
balancers. A Service that has none (`allocateLoadBalancerNodePorts: false`) is for balancers that know the way to pods,
as those of VPC-native clusters do: its balancer has routes to the pods by their nodes, and the endpoints themselves as
targets. That way nodes translate nothing and traffic policies don't count.

Nodes are checked by connecting to the node port; for a Service with `externalTrafficPolicy: Local` by asking its
healthCheckNodePort, which tells at once that a node has no endpoint (and is the only check that UDP can have).

Of mode proxy, a server ends connections; of mode nat, rules forward packets (`balancing`), and the server only checks
the targets. What it finds comes back as the status of the object, by which the rules leave out who isn't healthy.
Services that share an address (`sharing`) are served at one place, that of the first of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

from emulab.kinds.core.serviceview import Service, ServicePort, ingress_ips, is_internal
from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL, EndpointSlice
from emulab.kinds.emulab.balancerplaces import service_place
from emulab.kinds.emulab.balancingview import Balancing, HealthCheck, health_annotated
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.emulab.servicebalancing import service_balancing
from emulab.kinds.networking.accesssettings import ACCESS
from emulab.kinds.networking.ingresscontrollers import the_labs_ingress
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.listening import listening_addresses, service_behind
from emulab.kinds.registry import CONFIG_MAP, ENDPOINT_SLICE, INGRESS, LOAD_BALANCER, NODE, SERVICE
from emulab.kinds.underlay import replica_addresses, underlay_addresses, virtual_addresses
from emulab.model.addresses import IPAddress, parse_address, socket_name
from emulab.model.collection import Objects
from emulab.model.families import FAMILIES, Family, families_of, family_of
from emulab.model.objects import Object
from emulab.plan.balancing.isolation import plan_isolation
from emulab.plan.balancing.placing import BalancerPlan, identifiers, place_balancer
from emulab.plan.balancing.returning import Returning, plan_returning
from emulab.plan.cni.blocks import ways_to_pods
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.endpoints import ServiceName, views
from emulab.plan.kept import PlanSource
from emulab.plan.links import Route
from emulab.plan.proxy.intents import backends, service_candidates, usable
from emulab.plan.state import PlannedServer
from emulab.plan.topology import BalancerNode
from emulab.servers.health.config import HealthPolicy
from emulab.servers.l4.config import FrontendConfig, FrontendLimits, L4Config, TargetConfig

HEALTH = HealthPolicy(interval=1.0, down_interval=0.1, timeout=1.0, rise=1, fall=2)
_SOON = 5.0  # seconds
_PACES, _SLOWEST = ((100, 1.0), (200, 2.0), (500, 5.0)), 10.0
"""Up to how many targets are asked every so many seconds. In steps, as another interval begins all checks anew."""
PROXY_KEY = "use-proxy-protocol"
"""Of the ConfigMap of an ingress controller."""
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
"""The label of nodes that balancers leave out, whatever its value (cloud-provider's service controller)."""


def plan_balancers(draft: Draft, source: PlanSource, cluster: Cluster, nodes: list[Node]) -> None:
    """Places and configurations of all balancers."""
    taking = _taking(source, nodes)
    plans = [
        *(
            _asked_for(source, o, taking)
            for o in source.members(LOAD_BALANCER).values()
            if underlay_addresses(o)
        ),
        *_of_services(source, taking),
    ]
    _ways_to_pods(draft, source, cluster, taking)
    numbers = identifiers(plans, cluster)
    for plan in plans:
        place_balancer(draft, plan, cluster, numbers.get(plan.place, 0))
    clients_own = [
        Returning(p.addresses, tuple(node.addresses for node in p.nodes))
        for p in plans
        if p.balancing.preserve_client_ip
    ]
    plan_returning(draft, nodes, clients_own, cluster)
    plan_isolation(draft, [vip for plan in plans for vip in plan.vips], cluster)


def _taking(source: PlanSource, nodes: Sequence[Node]) -> list[Node]:
    """The nodes that balancers send to."""
    excluded = {o.name for o in source.facts(NODE, _excluded).values()}
    return [node for node in nodes if node.name not in excluded]


def _excluded(o: Object) -> Object | None:
    return o if EXCLUDED in o.labels else None


def _asked_for(source: PlanSource, o: Object, nodes: Sequence[Node]) -> BalancerPlan:
    """A LoadBalancer."""
    balancer, vips = LoadBalancer.of(o), virtual_addresses(o)
    service, forwarded = _target(source, balancer)
    balancing = balancer.balancing
    if balancer.target.ingress and not o.spec.get("proxyProtocol") and balancing.mode == "proxy":
        balancing = replace(balancing, proxy_protocol=2 if _takes_headers(source) else 0)
    annotated = _of_ingresses(source, o.name) if balancer.target.ingress else {}
    health = _health(service, balancing, annotated, len(nodes))
    like = _frontend(balancing, tuple(map(str, balancer.source_ranges)), health)
    frontends = {
        f"{protocol.lower()}/{vip}/{port}": replace(like, targets=_nodes(vip, node_port, nodes, balancing))
        for vip in listening_addresses(source, o)
        for (protocol, port), node_port in forwarded
    }
    own = underlay_addresses(o)
    return BalancerPlan(o.name, str(o.key), own, vips, frontends, balancing, unhealthy(o), balancer_nodes(o))


def balanced(o: Object) -> Object | None:
    """A Service that has a balancer of its own."""
    own = o.spec.get("type") == "LoadBalancer" and o.status.get("address") and not is_internal(o)
    return o if own else None


def _of_services(source: PlanSource, nodes: Sequence[Node]) -> Iterator[BalancerPlan]:
    """The balancers of Services of type LoadBalancer, one for all that share an address."""
    sharing: dict[str, list[Object]] = {}
    for o in source.facts(SERVICE, balanced).values():
        sharing.setdefault(str(o.status["address"]), []).append(o)
    for services in sharing.values():
        first, *others = services
        plan = _of_service(source, first, nodes)
        for other in others:
            more = _of_service(source, other, nodes)
            plan = plan._replace(
                frontends={**more.frontends, **plan.frontends}, unhealthy=plan.unhealthy | more.unhealthy
            )
        yield plan


def _of_service(source: PlanSource, o: Object, nodes: Sequence[Node]) -> BalancerPlan:
    """The balancer of a Service of type LoadBalancer."""
    service, place, balancing = Service.of(o), service_place(o), service_balancing(o)
    addresses = underlay_addresses(o)
    vips = tuple(parse_address(ip) for ip in ingress_ips(o)[: len(addresses)])
    ports = [p for p in service.ports if p.protocol in ("TCP", "UDP")]
    ranges = tuple(map(str, service.load_balancer_source_ranges))
    like = _frontend(balancing, ranges, _health(service, balancing, {}, len(nodes)))
    frontends: dict[str, FrontendConfig] = {}
    for vip in vips:
        for p in ports:
            frontend = replace(like, targets=_nodes(vip, p.node_port, nodes, balancing))
            if not p.node_port:
                targets = _pods(source, service, p, family_of(vip))
                frontend = replace(
                    like, targets=targets, health=_asked(paced(HEALTH, len(targets)), balancing, {})
                )
            frontends[f"{p.protocol.lower()}/{vip}/{p.port}"] = frontend
    own = balancer_nodes(o)
    return BalancerPlan(place, str(o.key), addresses, vips, frontends, balancing, unhealthy(o), own)


def _ways_to_pods(draft: Draft, source: PlanSource, cluster: Cluster, nodes: Sequence[Node]) -> None:
    """The routes of balancers that send to the endpoints themselves."""
    for o in source.facts(SERVICE, balanced).values():
        if all(p.node_port for p in Service.of(o).ports if p.protocol in ("TCP", "UDP")):
            continue
        places = [node.place for node in balancer_nodes(o)] or [service_place(o)]
        for family in families_of(underlay_addresses(o)):
            ways = [*ways_to_pods(source, cluster, nodes, family)]
            draft.add(*(Route(own, pods, "eth0", node) for own in places for pods, node in ways))


def _pods(
    source: PlanSource, service: Service, port: ServicePort, family: Family
) -> tuple[TargetConfig, ...]:
    """The endpoints of a Service port as targets."""
    found = usable(backends(views(source.slices((service.namespace, service.name))), port))
    return tuple(
        TargetConfig.nameless(str(t.address), t.port) for t in found if family_of(t.address) is family
    )


def balancer_nodes(o: Object) -> tuple[BalancerNode, ...]:
    """The nodes of a balancer that has several."""
    names = [str(one["name"]) for one in o.status.get("replicas") or ()]
    return tuple(BalancerNode(*pair) for pair in zip(names, replica_addresses(o), strict=True))


def is_well(source: PlanSource, o: Object, nodes: Sequence[Node], family: Family | None = None) -> bool:
    """Whether a balancer has a healthy target at each port that has any (Route 53, evaluate target health): at its
    addresses of a family, or at all of them."""
    taking = _taking(source, nodes)
    if o.type == SERVICE:
        plan = _of_service(source, o, taking) if balanced(o) else None
    else:
        plan = _asked_for(source, o, taking)
    planned = plan.frontends.items() if plan else ()
    frontends = {
        key: f.targets for key, f in planned if f.targets and family in (None, _family_of_frontend(key))
    }
    lacking = plan.unhealthy if plan else frozenset()
    return bool(frontends) and all(
        any((key, socket_name(target.address, target.port)) not in lacking for target in targets)
        for key, targets in frontends.items()
    )


def _family_of_frontend(key: str) -> Family:
    return family_of(parse_address(key.split("/")[1]))


def unhealthy(o: Object) -> frozenset[tuple[str, str]]:
    """The targets that a balancer's object says not to be healthy, by frontend and address."""
    found = o.status.get("unhealthyBackends") or ()
    return frozenset((str(b["frontend"]), str(b["address"])) for b in found)


Forwarded = tuple[Service | None, list[tuple[tuple[str, int], int]]]
"""The Service that a balancer sends to, and its ports with the node port behind each; 0 leads nowhere."""


def _target(source: PlanSource, balancer: LoadBalancer) -> Forwarded:
    if balancer.target.ingress:
        return _ingress(source, balancer)
    o = service_behind(source, balancer)
    service, wanted = Service.of(o) if o else None, balancer.target.port

    def node_port(protocol: str) -> int:
        own = (p for p in service.ports if p.protocol == protocol) if service else ()
        return next((p.node_port for p in own if wanted in (p.port, p.name)), 0)

    return service, [((protocol, port), node_port(protocol)) for protocol, port in balancer.sockets]


def _ingress(source: PlanSource, balancer: LoadBalancer) -> Forwarded:
    """The Service of the lab's ingress and its node ports; where it has none, ports of nodes that lead to its pods."""
    controller, o = the_labs_ingress(source)
    service = Service.of(o) if o is not None else None
    own = {(p.protocol, p.port): p.node_port for p in service.ports if p.node_port} if service else {}
    if own or controller is None:
        return service, [(port, own.get(port, 0)) for port in balancer.sockets]
    tcp = [(p, controller.node_port(p[1]) if p[0] == "TCP" else 0) for p in balancer.sockets]
    return None, tcp


def _takes_headers(source: PlanSource) -> bool:
    """Whether the lab's ingress speaks the PROXY protocol: balancers in front of it speak it, too, then."""
    controller, _ = the_labs_ingress(source)
    namespace, _, name = controller.flags.config_map.partition("/") if controller else ("", "", "")
    o = source.get(CONFIG_MAP.key(namespace, name)) if name else None
    said = str(((o.raw.get("data") or {}) if o else {}).get(PROXY_KEY, ""))
    try:
        return bool(ACCESS[PROXY_KEY][0](said))
    except ValueError:
        return False


def _of_ingresses(source: PlanSource, balancer: str) -> Mapping[str, Any]:
    """What annotations of the Ingresses of a balancer say of its checks; of several that say a thing, the first."""
    found: dict[str, Any] = {}
    for ingress, said in source.facts(INGRESS, _checked).values():
        if ingress.load_balancer == balancer:
            hosts = [rule.host for rule in ingress.rules if rule.host and not rule.host.startswith("*")]
            by_http = said.get("path") or said.get("protocol") in ("HTTP", "HTTPS")
            named = {"host": hosts[0]} if hosts and by_http else {}
            found = {**named, **said, **found}
    return found


def _checked(o: Object) -> tuple[Ingress, dict[str, Any]] | None:
    said = health_annotated(o.annotations)
    return (Ingress.of(o), said) if said else None


class ExpectedHealth(NamedTuple):
    """What is waited for at a frontend."""

    checked: bool  # whether targets are checked
    asked: (
        bool  # whether by what answers requests, too: whether it answers as it is asked to is for it to know
    )
    soon: bool  # whether a target that is well is healthy within a few seconds


def expected_frontends(
    objects: Objects, servers: Mapping[str, PlannedServer]
) -> dict[str, Mapping[str, ExpectedHealth]]:
    """Which frontends of which balancer must find a healthy target: those before a TCP port with endpoints."""
    configs = {name: s.config for name, s in servers.items() if isinstance(s.config, L4Config)}
    balancers = {name: {**config.frontends, **config.watched} for name, config in configs.items()}
    ports = {t.port for frontends in balancers.values() for f in frontends.values() for t in f.targets}
    served = _served(objects, ports) if ports else set()
    found: dict[str, Mapping[str, ExpectedHealth]] = {}
    for name, frontends in balancers.items():
        expected = {
            key: _expected(key, f)
            for key, f in frontends.items()
            if any(t.port in served and t.weight for t in f.targets)
        }
        if expected:
            found[name] = expected
    return found


def _expected(key: str, frontend: FrontendConfig) -> ExpectedHealth:
    health = frontend.health
    if health is None:
        return ExpectedHealth(False, False, True)
    of_service = health.port is not None  # `healthCheckNodePort`
    return ExpectedHealth(
        checked=of_service or key.startswith("tcp/"),
        asked=not of_service and bool(health.path or health.protocol in ("http", "https")),
        soon=health.rise * (health.down_interval or health.interval) <= _SOON,
    )


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


def _nodes(
    vip: IPAddress, node_port: int, nodes: Iterable[Node], balancing: Balancing
) -> tuple[TargetConfig, ...]:
    if not node_port:
        return ()
    family, weights = family_of(vip), balancing.weights
    return tuple(
        TargetConfig(n.name, str(n.address(family)), node_port, weights.get(n.name, 1)) for n in nodes
    )


def _frontend(balancing: Balancing, ranges: tuple[str, ...], health: HealthPolicy) -> FrontendConfig:
    """A frontend, but for its targets."""
    return FrontendConfig(
        balance=balancing.algorithm,
        targets=(),
        health=health,
        source_ranges=ranges,
        idle_timeout=balancing.idle_timeout,
        affinity=balancing.stickiness,
        fail_open=balancing.fail_open,
        drain=balancing.draining,
        proxy_protocol=balancing.proxy_protocol,
        limits=FrontendLimits(balancing.connections, balancing.connections_per_source, balancing.rate),
    )


def paced(policy: HealthPolicy, targets: int) -> HealthPolicy:
    """Of many targets each is asked less often: a balancer asks some hundred a second at most, as others have
    intervals of 5 to 30 seconds. Who isn't well is asked more often at first (`HealthPolicy`)."""
    interval = next((seconds for most, seconds in _PACES if targets <= most), _SLOWEST)
    return replace(policy, interval=max(policy.interval, interval))


def _health(
    service: Service | None, balancing: Balancing, annotated: Mapping[str, Any], targets: int
) -> HealthPolicy:
    policy = paced(HEALTH, targets)
    if service is not None and service.health_check_node_port:
        # The node itself says so: once is enough.
        policy = replace(policy, port=service.health_check_node_port, path="/healthz", fall=1)
    return _asked(policy, balancing, annotated)


def _asked(policy: HealthPolicy, balancing: Balancing, annotated: Mapping[str, Any]) -> HealthPolicy:
    """The policy with what is asked for: by Ingresses first, as annotations are there to override a balancer's."""
    return asked_policy(policy, balancing.health.overridden(annotated))


def asked_policy(policy: HealthPolicy, health: HealthCheck) -> HealthPolicy:
    """A policy with what of it is asked for otherwise."""
    found: dict[str, Any] = {
        field: value
        for field in ("path", "host", "port", "codes", "interval", "timeout", "rise", "fall")
        if (value := getattr(health, field))
    }
    if health.protocol:
        found["protocol"] = health.protocol.lower()
        if health.protocol == "TCP":
            found["path"] = ""
    if health.protocol and not health.port:
        found["port"] = None  # the healthCheckNodePort is left for who asks otherwise
    return replace(policy, **found)
