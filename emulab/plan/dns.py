"""What the three DNS servers answer: the public zones, the resolver's private ones, the cluster's.

The cluster's names follow the Kubernetes DNS specification 1.1.0 (kubernetes/dns): Services, endpoints of
headless ones, SRV for named ports, PTR, and CoreDNS' pod records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from emulab.kinds.core.serviceview import Service, ingress_ips, is_internal
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.registry import INGRESS, LOAD_BALANCER, POD, SERVICE, ZONE
from emulab.kinds.underlay import virtual_addresses
from emulab.model.addresses import IPAddress, parse_address
from emulab.model.checks import fits_dns
from emulab.model.collection import Objects
from emulab.model.families import family_of, socket_name
from emulab.plan.draft import Draft
from emulab.plan.endpoints import Slices, endpoints_of
from emulab.plan.state import Place, Server
from emulab.servers.dns.config import DnsConfig, Limits, Record, ZoneConfig

TTL = 5  # seconds; CoreDNS' kubernetes plugin
PUBLISHED_TTL = 30
LB_DOMAIN = "lb.test"
HOSTNAME_ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"


def _listen(addresses: Iterable[IPAddress | str], port: int = 53) -> tuple[str, ...]:
    return tuple(f"{protocol}/{a}/{port}" for a in addresses for protocol in ("udp", "tcp"))


def plan_public_dns(draft: Draft, objects: Objects, cluster: Cluster) -> None:
    """The authoritative server of the emulated internet, root included, and the resolver that asks it."""
    underlays = cluster.underlays
    zones: dict[str, list[Record]] = {".": [], f"{LB_DOMAIN}.": []}
    private: list[ZoneConfig] = []
    for o in objects.kind(ZONE):
        zone = Zone.of(o)
        origin = zone.name.rstrip(".") + "."
        records = [Record(_absolute(r.name, origin), r.type, r.value, r.ttl) for r in zone.records]
        if zone.visibility == "private":
            private.append(ZoneConfig(origin, tuple(records), clients=tuple(str(u.vpc) for u in underlays)))
        else:
            zones.setdefault(origin, []).extend(records)
    for name, address in filter(_is_sayable, published_names(objects)):
        origin = max((z for z in zones if _inside(name, z)), key=len)
        zones[origin].append(Record(name, _record(address), address, PUBLISHED_TTL))
    public = tuple(ZoneConfig(origin, tuple(records)) for origin, records in zones.items())
    _server(draft, "dns", DnsConfig(_listen(u.dns for u in underlays), public, recursion=False))
    both = _listen([*(u.resolver_internet for u in underlays), *(u.resolver_vpc for u in underlays)])
    forward = (socket_name(underlays[0].dns, 53),)
    _server(draft, "resolver", DnsConfig(both, tuple(private), forward, recursion=True))


def _server(draft: Draft, name: str, config: DnsConfig) -> None:
    draft.servers[name] = Server(name, "dns", name, config, dict.fromkeys(config.listen, name))


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


def published_names(objects: Objects) -> list[tuple[str, str]]:
    """Names and addresses that the cloud's DNS publishes by itself: Ingress hosts and LoadBalancer Services."""
    vips = {o.name: [str(a) for a in virtual_addresses(o)] for o in objects.kind(LOAD_BALANCER)}
    found: dict[tuple[str, str], None] = {}
    for o in objects.kind(INGRESS):
        ingress = Ingress.of(o)
        hosts = {r.host for r in ingress.rules if r.host}
        for host in sorted(hosts):
            found |= {(f"{host}.".lower(), vip): None for vip in vips.get(ingress.load_balancer, ())}
    for o in objects.kind(SERVICE):
        if o.spec.get("type") != "LoadBalancer" or is_internal(o):
            continue
        names = [f"{o.name}.{o.namespace}.{LB_DOMAIN}."]
        names += [
            f"{n.strip().rstrip('.')}."
            for n in o.annotations.get(HOSTNAME_ANNOTATION, "").split(",")
            if n.strip()
        ]
        for ip in ingress_ips(o):
            found.update({(name, ip): None for name in names})
    return list(found)


def cluster_dns_config(objects: Objects, slices: Slices, cluster: Cluster) -> DnsConfig:
    """The configuration of the cluster DNS, without its listeners."""
    domain = cluster.cluster_domain.rstrip(".") + "."
    names = _ClusterNames(domain)
    for o in objects.kind(SERVICE):
        names.service(Service.of(o), slices)
    for pod in objects.kind(POD):
        for entry in pod.status.get("podIPs") or ():
            dashed = entry["ip"].replace(".", "-").replace(":", "-")
            names.address(f"{dashed}.{pod.namespace}.pod.{domain}", entry["ip"])
    names.forward.append(Record(f"dns-version.{domain}", "TXT", "1.1.0", TTL))
    zones = {domain: names.forward, **names.reverse_zones()}
    return DnsConfig(
        listen=(),
        zones=tuple(ZoneConfig(origin, (*filter(_is_sayable, r),)) for origin, r in zones.items()),
        forward=(socket_name(cluster.underlays[0].resolver_vpc, 53),),
        recursion=True,
        cache=Limits(max_ttl=30),  # CoreDNS' `cache 30`
    )


class _ClusterNames:
    """Forward and reverse records of the cluster's zone."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.forward: list[Record] = []
        self.reverse: list[Record] = []

    def service(self, service: Service, slices: Slices) -> None:
        name = f"{service.name}.{service.namespace}.svc.{self.domain}"
        if service.type == "ExternalName":
            self.forward.append(Record(name, "CNAME", service.external_name.rstrip(".") + ".", TTL))
        elif service.headless:
            self._headless(name, service, slices.of(service.namespace, service.name))
        else:
            for ip in service.cluster_ips:
                self.address(name, str(ip))
                self.reverse.append(Record(_reverse_name(ip), "PTR", name, TTL))
            for port in service.ports:
                if port.name:
                    srv = f"_{port.name}._{port.protocol.lower()}.{name}"
                    self.forward.append(Record(srv, "SRV", f"0 100 {port.port} {name}", TTL))

    def address(self, name: str, ip: str) -> None:
        self.forward.append(Record(name, _record(ip), ip, TTL))

    def _headless(self, name: str, service: Service, slices: Sequence[EndpointSlice]) -> None:
        """A record for each endpoint, named by its hostname or by its dashed address."""
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
                        self.reverse.append(Record(_reverse_name(ip_address(ip)), "PTR", own, TTL))
        for port in service.ports:
            if not port.name:
                continue
            srv = f"_{port.name}._{port.protocol.lower()}.{name}"
            for _, endpoint, number in endpoints_of(slices, port):
                if endpoint.ready or service.publish_not_ready_addresses:
                    ip = endpoint.addresses[0]
                    own = f"{endpoint.hostname or ip.replace('.', '-').replace(':', '-')}.{name}"
                    self.forward.append(Record(srv, "SRV", f"0 100 {number.port} {own}", TTL))

    def reverse_zones(self) -> dict[str, list[Record]]:
        """The reverse records; the zones are the whole reverse trees, as in CoreDNS' stock configuration."""
        zones: dict[str, list[Record]] = {"in-addr.arpa.": [], "ip6.arpa.": []}
        for record in self.reverse:
            zones["ip6.arpa." if record[0].endswith("ip6.arpa.") else "in-addr.arpa."].append(record)
        return zones


def _reverse_name(ip: IPAddress) -> str:
    return ip.reverse_pointer + "."


def cluster_dns_server(name: str, place: Place, config: DnsConfig) -> Server:
    """The server in one of the cluster DNS's pods."""
    listen, namespace = _listen(place.addresses), place.namespace
    return Server(name, "dns", namespace, replace(config, listen=listen), dict.fromkeys(listen, namespace))
