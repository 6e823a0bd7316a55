"""What the DNS servers outside the cluster answer: the public zones, and the resolver's private ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emulab.kinds.core.serviceview import ingress_ips, is_internal
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.resolver import OWN_RESOLVER, Resolver
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.images import DNS_ENGINES, OWN_ENGINE
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingresscontrollers import front_service, node_addresses
from emulab.kinds.networking.ingressview import LOAD_BALANCER_ANNOTATION, Ingress
from emulab.kinds.networking.listening import listening_addresses
from emulab.kinds.registry import INGRESS, LOAD_BALANCER, RESOLVER, SERVICE, ZONE
from emulab.kinds.underlay import underlay_addresses
from emulab.model.addresses import IPAddress, is_address, parse_address, socket_name
from emulab.model.checks import fits_dns
from emulab.model.families import family_of
from emulab.model.objects import Object
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.kept import PlanSource
from emulab.plan.state import PlannedServer
from emulab.plan.zonerecords import zone_parts
from emulab.servers.dns.config import Asking, CacheLimits, DnsConfig, RoutedRecords, ZoneConfig, ZoneRecord

PUBLISHED_TTL = 30
LB_DOMAIN = "lb.test"
EXTERNAL_DNS = ("external-dns.alpha.kubernetes.io/", "external-dns.kubernetes.io/")
"""What annotations of external-dns begin with, of old and now."""
_DURATION = re.compile(r"(\d{1,10})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def listeners(addresses: Iterable[IPAddress | str], port: int = 53) -> tuple[str, ...]:
    """The keys of a DNS server's sockets."""
    return tuple(f"{protocol}/{a}/{port}" for a in addresses for protocol in ("udp", "tcp"))


def plan_public_dns(draft: Draft, source: PlanSource, cluster: Cluster, nodes: Sequence[Node]) -> None:
    """The authoritative server of the emulated internet, root included, and the resolver that asks it."""
    underlays = cluster.underlays
    zones: dict[str, list[ZoneRecord]] = {".": [], f"{LB_DOMAIN}.": []}
    routed: dict[str, list[RoutedRecords]] = {}
    private: list[ZoneConfig] = []
    for o in source.members(ZONE).values():
        zone = zone_config(o, source, cluster, nodes)
        if zone.clients is not None:
            private.append(zone)
        else:
            zones.setdefault(zone.origin, []).extend(zone.records)
            routed.setdefault(zone.origin, []).extend(zone.routed)
    for record in filter(_is_sayable, published_records(source, cluster)):
        origin = max((z for z in zones if _inside(record.name, z)), key=len)
        zones[origin].append(record)
    public = tuple(
        ZoneConfig(origin, tuple(records), routed=tuple(routed.get(origin, ())))
        for origin, records in zones.items()
    )
    told = DnsConfig(listeners(u.dns for u in underlays), public, recursion=False)
    _server(draft, "dns", told, cluster.dns_engine)
    both = [*(u.resolver_internet for u in underlays), *(u.resolver_vpc for u in underlays)]
    resolvers = {o.name: o for o in source.members(RESOLVER).values()}
    places = {OWN_RESOLVER: both} | {
        name: [*underlay_addresses(o)] for name, o in resolvers.items() if name != OWN_RESOLVER
    }
    for name, addresses in places.items():
        if addresses:
            how = Resolver.of(resolvers[name]) if name in resolvers else None
            engine = how.engine if how else OWN_ENGINE
            _server(draft, name, resolver_config(how, addresses, private, cluster), engine)


def zone_config(o: Object, source: PlanSource, cluster: Cluster, nodes: Sequence[Node]) -> ZoneConfig:
    """What a Zone by itself has a server told."""
    zone = Zone.of(o)
    records, routed = zone_parts(o, source, nodes)
    private = zone.visibility == "private"
    clients = tuple(str(u.vpc) for u in cluster.underlays) if private else None
    return ZoneConfig(f"{zone.name.rstrip('.')}.", tuple(records), clients, tuple(routed))


def resolver_config(
    how: Resolver | None, addresses: Iterable[IPAddress], private: Iterable[ZoneConfig], cluster: Cluster
) -> DnsConfig:
    """The configuration of a resolver, the lab's own (`how` is None) or one that an object tells of."""
    asked = how.forward if how else ()
    servers = [parse_address(text) for text in asked] or [cluster.underlays[0].dns]
    limits, asking = CacheLimits(), Asking()
    if how:
        limits = CacheLimits(how.max_ttl, how.min_ttl, how.negative_ttl, stale=how.serve_stale)
        asking = Asking(mixed_case=how.mixed_case)
    forward = tuple(socket_name(server, 53) for server in servers)
    return DnsConfig(
        listeners(addresses), tuple(private), forward, recursion=True, cache=limits, upstream=asking
    )


def _server(draft: Draft, name: str, config: DnsConfig, engine: str) -> None:
    # Programs open their sockets themselves.
    listen = dict.fromkeys(config.listen if engine == OWN_ENGINE else (), name)
    draft.servers[name] = PlannedServer(name, DNS_ENGINES[engine], name, config, listen)


def _is_sayable(record: Sequence[Any]) -> bool:
    """Whether a record's name, and the name that it leads to, can be asked for: objects may have longer ones."""
    leads = str(record[2]).rpartition(" ")[2] if len(record) > 2 and record[1] != "TXT" else ""
    return fits_dns(record[0]) and fits_dns(leads)


def _record(address: str) -> str:
    """The type of the record that holds an address."""
    return family_of(parse_address(address)).record


def _inside(name: str, origin: str) -> bool:
    return origin == "." or name == origin or name.endswith("." + origin)


def published_names(source: PlanSource, cluster: Cluster) -> list[tuple[str, str]]:
    """Names, and what they lead to, that the cloud's DNS publishes by itself."""
    return [(record.name, record.data) for record in published_records(source, cluster)]


def published_records(source: PlanSource, cluster: Cluster) -> list[ZoneRecord]:
    """Ingress hosts and LoadBalancer Services, as external-dns publishes them: by their annotations, too.

    Of what is said of a name twice the first TTL counts (`MergeEndpoints` of external-dns), and an alias is alone.
    """
    vips = {
        o.name: [str(a) for a in listening_addresses(source, o)]
        for o in source.members(LOAD_BALANCER).values()
    }
    found: dict[str, dict[str, ZoneRecord]] = {}

    def publish(o: Object, names: Iterable[str], targets: Sequence[str]) -> None:
        ttl = published_ttl(next((said for said in _said(o, "ttl")), ""))
        for name in names:
            known = found.setdefault(name, {})
            for target in _listed(o, "target") or targets:
                record = _published_record(name, target, ttl)
                if not any("CNAME" in (other.type, record.type) for other in known.values()):
                    known.setdefault(record.data, record)

    classes = IngressClasses.among(source, cluster)
    for o in source.members(INGRESS).values():
        ingress = Ingress.of(o)
        hosts = sorted({r.host.lower() for r in ingress.rules if r.host})
        hosts += [name for name in _listed(o, "hostname") if name not in hosts]
        addresses = _entrances(source, classes, ingress, vips) if hosts else ()
        publish(o, [f"{host}." for host in hosts], addresses)
    for o in source.facts(SERVICE, _published).values():
        names = [f"{o.name}.{o.namespace}.{LB_DOMAIN}.", *(f"{n}." for n in _listed(o, "hostname"))]
        publish(o, names, ingress_ips(o))
    return [record for records in found.values() for record in records.values()]


def _listed(o: Object, annotation: str) -> list[str]:
    """Names or addresses with commas between them."""
    words = (word.strip().rstrip(".").lower() for said in _said(o, annotation) for word in said.split(","))
    return [*dict.fromkeys(word for word in words if word)]


def _said(o: Object, annotation: str) -> list[str]:
    """What an object says by one of external-dns' annotations."""
    return [
        o.annotations[prefix + annotation] for prefix in EXTERNAL_DNS if prefix + annotation in o.annotations
    ]


def _published_record(name: str, target: str, ttl: int) -> ZoneRecord:
    if is_address(target):
        return ZoneRecord(name, _record(target), target, ttl)
    return ZoneRecord(name, "CNAME", f"{target}.", ttl)


def published_ttl(text: str) -> int:
    """The TTL of an annotation, in seconds or as Go writes durations; what is neither counts for nothing."""
    if text.isdigit():
        seconds = int(text[:11])
    else:
        parts = _DURATION.findall(text)
        whole = bool(parts) and "".join(number + unit for number, unit in parts) == text
        seconds = int(sum(int(number) * _SECONDS[unit] for number, unit in parts)) if whole else 0
    return seconds if 0 < seconds < 1 << 31 else PUBLISHED_TTL


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


def _published(o: Object) -> Object | None:
    """A Service whose balancer has names."""
    return o if o.spec.get("type") == "LoadBalancer" and not is_internal(o) else None
