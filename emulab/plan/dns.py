"""What the three DNS servers answer: the public zones, the resolver's private ones, the cluster's.

The cluster's names follow the Kubernetes DNS specification 1.1.0 (kubernetes/dns): Services, endpoints of
headless ones, SRV for named ports, PTR, and CoreDNS' pod records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from typing import Any

from emulab.kinds.core.serviceview import Service, ingress_ips, is_internal
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.registry import INGRESS, LOAD_BALANCER, POD, SERVICE, ZONE
from emulab.kinds.underlay import virtual_addresses
from emulab.model.addresses import IPAddress, parse_address, socket_name
from emulab.model.checks import fits_dns
from emulab.model.families import family_of
from emulab.model.objects import Object
from emulab.plan.draft import Draft
from emulab.plan.endpoints import endpoints_of, views
from emulab.plan.kept import PlanSource
from emulab.plan.state import Place, PlannedServer
from emulab.servers.dns.config import CacheLimits, DnsConfig, ZoneConfig, ZoneRecord

TTL = 5  # seconds; CoreDNS' kubernetes plugin
PUBLISHED_TTL = 30
LB_DOMAIN = "lb.test"
_REVERSE = ("in-addr.arpa.", "ip6.arpa.")
"""The zones of reverse records: the whole reverse trees, as in CoreDNS' stock configuration."""
HOSTNAME_ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"


def _listen(addresses: Iterable[IPAddress | str], port: int = 53) -> tuple[str, ...]:
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
    for name, address in filter(_is_sayable, published_names(source)):
        origin = max((z for z in zones if _inside(name, z)), key=len)
        zones[origin].append(ZoneRecord(name, _record(address), address, PUBLISHED_TTL))
    public = tuple(ZoneConfig(origin, tuple(records)) for origin, records in zones.items())
    _server(draft, "dns", DnsConfig(_listen(u.dns for u in underlays), public, recursion=False))
    both = _listen([*(u.resolver_internet for u in underlays), *(u.resolver_vpc for u in underlays)])
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


def published_names(source: PlanSource) -> list[tuple[str, str]]:
    """Names and addresses that the cloud's DNS publishes by itself: Ingress hosts and LoadBalancer Services."""
    vips = {o.name: [str(a) for a in virtual_addresses(o)] for o in source.members(LOAD_BALANCER).values()}
    found: dict[tuple[str, str], None] = {}
    for o in source.members(INGRESS).values():
        ingress = Ingress.of(o)
        hosts = {r.host for r in ingress.rules if r.host}
        for host in sorted(hosts):
            found |= {(f"{host}.".lower(), vip): None for vip in vips.get(ingress.load_balancer, ())}
    for o in source.facts(SERVICE, _published).values():
        names = [f"{o.name}.{o.namespace}.{LB_DOMAIN}."]
        names += [
            f"{n.strip().rstrip('.')}."
            for n in o.annotations.get(HOSTNAME_ANNOTATION, "").split(",")
            if n.strip()
        ]
        for ip in ingress_ips(o):
            found.update({(name, ip): None for name in names})
    return list(found)


def _published(o: Object) -> Object | None:
    """A Service whose balancer has names."""
    return o if o.spec.get("type") == "LoadBalancer" and not is_internal(o) else None


def cluster_dns_config(source: PlanSource, cluster: Cluster) -> DnsConfig:
    """The configuration of the cluster DNS, without its listeners."""
    domain = cluster.cluster_domain.rstrip(".") + "."
    forward = list[ZoneRecord]()
    reverse = {origin: list[ZoneRecord]() for origin in _REVERSE}
    for part in source.facts(SERVICE, _service_records(domain)).values():
        forward += part.forward
        for origin, records in part.reverse.items():
            reverse[origin] += records
    for service in source.facts(SERVICE, _headless).values():
        names = _ClusterNames(domain)
        names.headless(service, views(source.slices((service.namespace, service.name))))
        forward += names.forward
        for origin, records in names.reverse.items():
            reverse[origin] += records
    for addresses in source.facts(POD, _pod_records(domain)).values():
        forward += addresses
    forward.append(ZoneRecord(f"dns-version.{domain}", "TXT", "1.1.0", TTL))
    zones = {domain: forward, **reverse}
    return DnsConfig(
        listen=(),
        zones=tuple(ZoneConfig(origin, tuple(records)) for origin, records in zones.items()),
        forward=(socket_name(cluster.underlays[0].resolver_vpc, 53),),
        recursion=True,
        cache=CacheLimits(max_ttl=30),  # CoreDNS' `cache 30`
    )


@cache
def _service_records(domain: str) -> Callable[[Object], _ClusterNames | None]:
    """What asks a Service that isn't headless for its records."""

    def ask(o: Object) -> _ClusterNames | None:
        service = Service.of(o)
        if service.headless:
            return None
        names = _ClusterNames(domain)
        names.service(service)
        return names

    return ask


def _headless(o: Object) -> Service | None:
    """A Service whose records depend on its endpoints."""
    service = Service.of(o)
    return service if service.headless and service.type != "ExternalName" else None


@cache
def _pod_records(domain: str) -> Callable[[Object], tuple[ZoneRecord, ...] | None]:
    """What asks a Pod for its records."""

    def ask(pod: Object) -> tuple[ZoneRecord, ...] | None:
        names = _ClusterNames(domain)
        for entry in pod.status.get("podIPs") or ():
            dashed = entry["ip"].replace(".", "-").replace(":", "-")
            names.address(f"{dashed}.{pod.namespace}.pod.{domain}", entry["ip"])
        return tuple(names.forward) or None

    return ask


class _ClusterNames:
    """Records of the cluster's zone that can be asked for, and reverse ones by their zone."""

    __slots__ = ("domain", "forward", "reverse")

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.forward: list[ZoneRecord] = []
        self.reverse: dict[str, list[ZoneRecord]] = {}

    def service(self, service: Service) -> None:
        """The records of a Service that isn't headless."""
        name = f"{service.name}.{service.namespace}.svc.{self.domain}"
        if service.type == "ExternalName":
            self._add(ZoneRecord(name, "CNAME", service.external_name.rstrip(".") + ".", TTL))
            return
        for ip in service.cluster_ips:
            self.address(name, str(ip))
            self._add_reverse(ip, name)
        for port in service.ports:
            if port.name:
                srv = f"_{port.name}._{port.protocol.lower()}.{name}"
                self._add(ZoneRecord(srv, "SRV", f"0 100 {port.port} {name}", TTL))

    def address(self, name: str, ip: str) -> None:
        self._add(ZoneRecord(name, _record(ip), ip, TTL))

    def _add(self, record: ZoneRecord) -> None:
        if _is_sayable(record):
            self.forward.append(record)

    def _add_reverse(self, ip: IPAddress, name: str) -> None:
        record = ZoneRecord(_reverse_name(ip), "PTR", name, TTL)
        if _is_sayable(record):
            self.reverse.setdefault(next(o for o in _REVERSE if record.name.endswith(o)), []).append(record)

    def headless(self, service: Service, slices: Sequence[EndpointSlice]) -> None:
        """A record for each endpoint, named by its hostname or by its dashed address."""
        name = f"{service.name}.{service.namespace}.svc.{self.domain}"
        seen: set[str] = set()
        for view in slices:
            for endpoint in view.endpoints:
                ready = endpoint.ready or service.publish_not_ready_addresses
                if not endpoint.addresses or not ready or view.address_type == "FQDN":
                    continue
                ip = endpoint.addresses[0]
                own = f"{endpoint.hostname or ip.replace('.', '-').replace(':', '-')}.{name}"
                if own not in seen:
                    seen.add(own)
                    self.address(name, ip)
                    self.address(own, ip)
                    if endpoint.hostname:
                        self._add_reverse(ip_address(ip), own)
        for port in service.ports:
            if not port.name:
                continue
            srv = f"_{port.name}._{port.protocol.lower()}.{name}"
            for _, endpoint, number in endpoints_of(slices, port):
                if endpoint.ready or service.publish_not_ready_addresses:
                    ip = endpoint.addresses[0]
                    own = f"{endpoint.hostname or ip.replace('.', '-').replace(':', '-')}.{name}"
                    self._add(ZoneRecord(srv, "SRV", f"0 100 {number.port} {own}", TTL))


def _reverse_name(ip: IPAddress) -> str:
    return ip.reverse_pointer + "."


def cluster_dns_server(name: str, place: Place, config: DnsConfig) -> PlannedServer:
    """The server in one of the cluster DNS's pods."""
    listen, namespace = _listen(place.addresses), place.namespace
    return PlannedServer(
        name, "dns", namespace, replace(config, listen=listen), dict.fromkeys(listen, namespace)
    )
