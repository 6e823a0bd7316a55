"""What the DNS servers outside the cluster answer: the public zones, and the resolver's private ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emulab.kinds.core.serviceview import ingress_ips, is_internal
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingresscontrollers import front_service, node_addresses
from emulab.kinds.networking.ingressview import LOAD_BALANCER_ANNOTATION, Ingress
from emulab.kinds.registry import INGRESS, LOAD_BALANCER, SERVICE, ZONE
from emulab.kinds.underlay import virtual_addresses
from emulab.model.addresses import IPAddress, is_address, parse_address, socket_name
from emulab.model.checks import fits_dns
from emulab.model.families import family_of
from emulab.model.objects import Object
from emulab.plan.draft import Draft
from emulab.plan.kept import PlanSource
from emulab.plan.state import PlannedServer
from emulab.servers.dns.config import DnsConfig, ZoneConfig, ZoneRecord

PUBLISHED_TTL = 30
LB_DOMAIN = "lb.test"
HOSTNAME_ANNOTATIONS = ("external-dns.alpha.kubernetes.io/hostname", "external-dns.kubernetes.io/hostname")
"""What ExternalDNS takes names of a Service from, of old and now."""


def listeners(addresses: Iterable[IPAddress | str], port: int = 53) -> tuple[str, ...]:
    """The keys of a DNS server's sockets."""
    return tuple(f"{protocol}/{a}/{port}" for a in addresses for protocol in ("udp", "tcp"))


def plan_public_dns(draft: Draft, source: PlanSource, cluster: Cluster) -> None:
    """The authoritative server of the emulated internet, root included, and the resolver that asks it."""
    underlays = cluster.underlays
    zones: dict[str, list[ZoneRecord]] = {".": [], f"{LB_DOMAIN}.": []}
    private: list[ZoneConfig] = []
    for o in source.members(ZONE).values():
        zone = Zone.of(o)
        origin = zone.name.rstrip(".") + "."
        records = [ZoneRecord(_absolute(r.name, origin), r.type, r.value, r.ttl) for r in zone.records]
        if zone.visibility == "private":
            private.append(ZoneConfig(origin, tuple(records), clients=tuple(str(u.vpc) for u in underlays)))
        else:
            zones.setdefault(origin, []).extend(records)
    for name, address in filter(_is_sayable, published_names(source, cluster)):
        origin = max((z for z in zones if _inside(name, z)), key=len)
        zones[origin].append(ZoneRecord(name, _record(address), address, PUBLISHED_TTL))
    public = tuple(ZoneConfig(origin, tuple(records)) for origin, records in zones.items())
    _server(draft, "dns", DnsConfig(listeners(u.dns for u in underlays), public, recursion=False))
    both = listeners([*(u.resolver_internet for u in underlays), *(u.resolver_vpc for u in underlays)])
    forward = (socket_name(underlays[0].dns, 53),)
    _server(draft, "resolver", DnsConfig(both, tuple(private), forward, recursion=True))


def _server(draft: Draft, name: str, config: DnsConfig) -> None:
    draft.servers[name] = PlannedServer(name, "dns", name, config, dict.fromkeys(config.listen, name))


def _is_sayable(record: Sequence[Any]) -> bool:
    """Whether a record's name, and the name that it leads to, can be asked for: objects may have longer ones."""
    leads = str(record[2]).rpartition(" ")[2] if len(record) > 2 and record[1] != "TXT" else ""
    return fits_dns(record[0]) and fits_dns(leads)


def _record(address: str) -> str:
    """The type of the record that holds an address."""
    return family_of(parse_address(address)).record


def _inside(name: str, origin: str) -> bool:
    return origin == "." or name == origin or name.endswith("." + origin)


def _absolute(name: str, origin: str) -> str:
    if name in ("@", ""):
        return origin
    return name if name.endswith(".") else f"{name}.{origin}" if origin != "." else f"{name}."


def published_names(source: PlanSource, cluster: Cluster) -> list[tuple[str, str]]:
    """Names and addresses that the cloud's DNS publishes by itself: Ingress hosts and LoadBalancer Services."""
    vips = {o.name: [str(a) for a in virtual_addresses(o)] for o in source.members(LOAD_BALANCER).values()}
    found: dict[tuple[str, str], None] = {}
    classes = IngressClasses.among(source, cluster)
    for o in source.members(INGRESS).values():
        ingress = Ingress.of(o)
        hosts = {r.host for r in ingress.rules if r.host}
        addresses = _entrances(source, classes, ingress, vips) if hosts else ()
        for host in sorted(hosts):
            found |= {(f"{host}.".lower(), address): None for address in addresses}
    for o in source.facts(SERVICE, _published).values():
        names = [f"{o.name}.{o.namespace}.{LB_DOMAIN}."]
        names += [
            f"{n.strip().rstrip('.')}."
            for annotation in HOSTNAME_ANNOTATIONS
            for n in o.annotations.get(annotation, "").split(",")
            if n.strip()
        ]
        for ip in ingress_ips(o):
            found.update({(name, ip): None for name in names})
    return list(found)


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
