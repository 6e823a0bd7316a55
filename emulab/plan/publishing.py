"""The names that the cloud's DNS publishes by itself, as external-dns does (source/ingress.go, source/service.go)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from emulab.kinds.core.serviceview import Service, ingress_ips, is_internal
from emulab.kinds.discovery.endpointsliceview import Endpoint, EndpointSlice
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.externaldns import (
    ANNOTATED,
    DEFAULT_TTL,
    DEFINED,
    HOST,
    NODE_EXTERNAL,
    RecordRoute,
    heeds_health,
    is_left_to_others,
    is_refused,
    listed,
    one_said,
    route_of,
    said,
    ttl_of,
)
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingresscontrollers import front_service, node_addresses
from emulab.kinds.networking.ingressview import LOAD_BALANCER_ANNOTATION, Ingress
from emulab.kinds.networking.listening import listening_addresses
from emulab.kinds.registry import INGRESS, LOAD_BALANCER, NODE, POD, SERVICE
from emulab.model.addresses import is_address, parse_address
from emulab.model.families import family_of
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.servers.dns.config import ZoneRecord

LB_DOMAIN = "lb.test"
_Targets = Iterable[tuple[str, Sequence[str]]]
"""Names, each with what it leads to."""


class RoutedRecord(NamedTuple):
    """A record of one set of several of a name and type, and the Service by whose balancer it is as well as that."""

    record: ZoneRecord
    route: RecordRoute
    service: Key | None = None


def published_names(source: PlanSource, cluster: Cluster) -> list[tuple[str, str]]:
    """Names, and what they lead to, that the cloud's DNS publishes by itself."""
    plain, routed = published_records(source, cluster)
    return [(record.name, record.data) for record in (*plain, *(one.record for one in routed))]


def published_records(source: PlanSource, cluster: Cluster) -> tuple[list[ZoneRecord], list[RoutedRecord]]:
    """Ingress hosts and Services, by their annotations, too: plain records, and those that are routed.

    Of what is said of a name twice the first TTL counts (`MergeEndpoints` of external-dns), and an alias is alone.
    """
    published = _Published()
    vips = {
        o.name: [str(a) for a in listening_addresses(source, o)]
        for o in source.members(LOAD_BALANCER).values()
    }
    classes = IngressClasses.among(source, cluster)
    for o in source.members(INGRESS).values():
        ingress = Ingress.of(o)
        hosts = _hosts(o, ingress)
        addresses = _entrances(source, classes, ingress, vips) if hosts else ()
        published.publish(o, [(f"{host}.", addresses) for host in hosts])
    for o in source.facts(SERVICE, _named).values():
        published.publish(o, _service_names(source, o))
        if not is_left_to_others(o) and o.spec.get("type") == "NodePort" and not listed(o, "target"):
            published.locate(o)
    return published.parts()


class _Published:
    """Records by their names, what they say and their sets."""

    def __init__(self) -> None:
        self._found: dict[str, dict[tuple[str, str], RoutedRecord | ZoneRecord]] = {}

    def parts(self) -> tuple[list[ZoneRecord], list[RoutedRecord]]:
        """The plain records and the others. Where there is a plain one, all of that name and type are."""
        plain: list[ZoneRecord] = []
        routed: list[RoutedRecord] = []
        for records in self._found.values():
            kinds = {record.type for record in records.values() if isinstance(record, ZoneRecord)}
            for one in records.values():
                if isinstance(one, ZoneRecord):
                    plain.append(one)
                elif one.record.type in kinds:
                    plain.append(one.record)
                else:
                    routed.append(one)
        return plain, routed

    def publish(self, o: Object, names: _Targets) -> None:
        if is_left_to_others(o):
            return
        ttl, asked = published_ttl(next(iter(said(o, "ttl")), "")), listed(o, "target")
        route, refused = route_of(o), is_refused(o)
        balanced = o.key if o.kind == "Service" and not asked and heeds_health(o) else None
        for name, targets in names:
            own = name.endswith(f".{LB_DOMAIN}.")  # which the balancer's cloud has, and not external-dns
            if refused and not own:
                continue
            for target in asked or targets:
                record = _record(name, target, ttl)
                if route is None or own:
                    self._add(record)
                else:
                    self._add(RoutedRecord(record, route, balanced))

    def locate(self, o: Object) -> None:
        """The SRV records of a Service's node ports."""
        ttl = published_ttl(next(iter(said(o, "ttl")), ""))
        for name in (*listed(o, "hostname"), *listed(o, "internal-hostname")):
            for port in Service.of(o).ports:
                if port.node_port:
                    owner = f"_{o.name}._{port.protocol.lower()}.{name}."
                    self._add(ZoneRecord(owner, "SRV", f"0 50 {port.node_port} {name}.", ttl))

    def _add(self, one: ZoneRecord | RoutedRecord) -> None:
        record, which = (one, "") if isinstance(one, ZoneRecord) else (one.record, one.route.identifier)
        known = self._found.setdefault(record.name, {})
        if all(_go_together(one, other) for other in known.values()):
            known.setdefault((record.data, which), one)


def _go_together(one: ZoneRecord | RoutedRecord, other: ZoneRecord | RoutedRecord) -> bool:
    """Whether a name may have both: an alias is alone, but for others of which one is answered at a time."""
    types = {r.type if isinstance(r, ZoneRecord) else r.record.type for r in (one, other)}
    if "CNAME" not in types:
        return True
    if not (isinstance(one, RoutedRecord) and isinstance(other, RoutedRecord)):
        return False
    return len(types) == 1 and one.route.identifier != other.route.identifier


def published_ttl(text: str) -> int:
    """The TTL of an annotation, in seconds or as Go writes durations; what is neither counts for nothing."""
    return ttl_of(text.strip()) or DEFAULT_TTL


def _record(name: str, target: str, ttl: int) -> ZoneRecord:
    if is_address(target):
        return ZoneRecord(name, family_of(parse_address(target)).record, target, ttl)
    return ZoneRecord(name, "CNAME", f"{target.rstrip('.')}.", ttl)


def _hosts(o: Object, ingress: Ingress) -> list[str]:
    """The names of an Ingress: those of its rules and of its TLS section, those of the annotation, or one of both."""
    where = one_said(o, "ingress-hostname-source")
    hosts = {r.host.lower() for r in ingress.rules if r.host}
    hosts |= {host.lower() for tls in o.spec.get("tls") or () for host in tls.get("hosts") or () if host}
    found = [*sorted(hosts)] if where in ("", DEFINED) else []
    if where in ("", ANNOTATED):
        found += [name for name in listed(o, "hostname") if name not in found]
    return found


def _named(o: Object) -> Object | None:
    """A Service that has names: one whose balancer has them, or that asks for them."""
    if o.spec.get("type") == "LoadBalancer" and not is_internal(o):
        return o
    return o if said(o, "hostname") or said(o, "internal-hostname") else None


def _service_names(source: PlanSource, o: Object) -> Iterator[tuple[str, Sequence[str]]]:
    """A Service's names, each with what it leads to."""
    service = Service.of(o)
    external = [str(address) for address in service.external_ips]
    targets: Sequence[str] = ()
    if service.type == "LoadBalancer":
        targets = ingress_ips(o)
        if not is_internal(o):
            yield f"{o.name}.{o.namespace}.{LB_DOMAIN}.", targets
        targets = external or targets
    elif service.type == "NodePort":
        targets = _nodes(source, o, service)
    elif service.type == "ExternalName":
        targets = external or [service.external_name]
    inner = service.type in ("ClusterIP", "LoadBalancer") and not service.headless
    outer = [] if inner else listed(o, "internal-hostname")  # what has no address of the cluster's own
    for name in (*listed(o, "hostname"), *outer):
        yield f"{name}.", targets
        if service.headless and not listed(o, "target"):
            yield from _endpoints(source, o, name)
    for name in listed(o, "internal-hostname") if inner else ():
        yield f"{name}.", [str(address) for address in service.cluster_ips[:1]]


def _endpoints(source: PlanSource, o: Object, name: str) -> Iterator[tuple[str, Sequence[str]]]:
    """A headless Service's endpoints, under the name, and under their Pods' hostnames below it."""
    tolerant = Service.of(o).publish_not_ready_addresses
    for entry in source.slices((o.namespace, o.name)):
        for endpoint in EndpointSlice.of(entry).endpoints:
            if endpoint.target_pod and (endpoint.ready or tolerant):
                pod = source.get(POD.key(o.namespace, endpoint.target_pod))
                if pod is None:
                    continue
                targets = _of_endpoint(source, o, pod, endpoint)
                yield f"{name}.", targets
                if host := pod.spec.get("hostname"):
                    yield f"{host}.{name}.", targets


def _of_endpoint(source: PlanSource, o: Object, pod: Object, endpoint: Endpoint) -> Sequence[str]:
    """What an endpoint of a headless Service is published as: its own address, or what the Pod or the Service says."""
    if told := listed(pod, "target"):
        return told
    kind = next(iter(said(o, "endpoints-type")), "").strip()
    if kind == HOST:
        return [str(pod.status["hostIP"])] if pod.status.get("hostIP") else []
    if kind != NODE_EXTERNAL:
        return endpoint.addresses
    node = source.get(NODE.key("", str(pod.spec.get("nodeName"))))
    given = (node.status.get("addresses") or ()) if node is not None else ()
    return [entry["address"] for entry in given if entry["type"] == "ExternalIP"]


def _nodes(source: PlanSource, o: Object, service: Service) -> list[str]:
    """The addresses of the nodes: with policy Local those that have endpoints."""
    local = service.external_traffic_policy == "Local"
    near = _near(source, o) if local else set()
    found: dict[str, list[str]] = {"InternalIP": [], "ExternalIP": []}
    for node in source.members(NODE).values():
        if not local or node.name in near:
            for entry in node.status.get("addresses") or ():
                if entry["type"] in found:
                    found[entry["type"]].append(entry["address"])
    access = one_said(o, "access")
    if access != "private" and (found["ExternalIP"] or access == "public"):
        return found["ExternalIP"]
    return found["InternalIP"]


def _near(source: PlanSource, o: Object) -> set[str]:
    """The nodes of a Service's running Pods, of those that are best off: ready, ready and about to end, or neither
    (`nodesExternalTrafficPolicyTypeLocal`)."""
    ranked: dict[int, set[str]] = {}
    for entry in source.slices((o.namespace, o.name)):
        for endpoint in EndpointSlice.of(entry).endpoints:
            pod = source.get(POD.key(o.namespace, endpoint.target_pod)) if endpoint.target_pod else None
            if pod is None or pod.status.get("phase") == "Running":
                rank = 2 if not endpoint.serving else int(endpoint.terminating)
                ranked.setdefault(rank, set()).add(endpoint.node_name)
    return ranked[min(ranked)] if ranked else set()


def _entrances(
    source: PlanSource, classes: IngressClasses, ingress: Ingress, vips: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    """Where clients of an Ingress get in: by the balancer of its controller, or by the nodes where that has ports.

    Those of a controller that has neither, and of nobody, come by the balancer that every lab has; so does
    whoever's Ingress says by which balancer.
    """
    front = vips.get(ingress.load_balancer, ())
    controller = next(iter(classes.serving(ingress)), None)
    if controller is None or LOAD_BALANCER_ANNOTATION in ingress.annotations:
        return front
    told = [name.strip() for name in controller.flags.publish_addresses.split(",")]
    if addresses := [name for name in told if is_address(name)]:
        return addresses
    service = front_service(source, controller)
    if service is not None and service.spec.get("type") == "LoadBalancer":
        return front if is_internal(service) else ingress_ips(service)
    if any(map(controller.node_port, (80, 443))):
        return [*node_addresses(source, controller, ready=False)]
    return front
