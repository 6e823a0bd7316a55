"""What the DNS servers outside the cluster answer: the public zones, and the resolver's private ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.resolver import OWN_RESOLVER, Resolver
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.images import DNS_ENGINES, OWN_ENGINE
from emulab.kinds.registry import RESOLVER, ZONE
from emulab.kinds.underlay import underlay_addresses
from emulab.model.addresses import IPAddress, parse_address, socket_name
from emulab.model.objects import Object
from emulab.plan.cni.plugin import Node
from emulab.plan.coredns.drafting import sayable
from emulab.plan.draft import Draft
from emulab.plan.kept import PlanSource
from emulab.plan.publishing import LB_DOMAIN, published_records
from emulab.plan.state import PlannedServer
from emulab.plan.zonerecords import routed_sets, zone_parts
from emulab.servers.dns.config import Asking, CacheLimits, DnsConfig, RoutedRecords, ZoneConfig, ZoneRecord


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
    plain, sets = published_records(source, cluster)
    sets = [one for one in sets if _is_sayable(one.record)]
    asked = {(one.record.name, one.record.type) for one in sets}
    # Zones may have tens of thousands of records; most labs have no set.
    known = {(r.name, r.type) for records in zones.values() for r in records} & asked if asked else asked
    beside = [one.record for one in sets if (one.record.name, one.record.type) in known]
    for record in (*filter(_is_sayable, plain), *beside):
        zones[_zone_of(record, zones)].append(record)
    alone = [one for one in sets if (one.record.name, one.record.type) not in known]
    for made in routed_sets(alone, source, nodes):
        routed.setdefault(_zone_of(made, zones), []).append(made)
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


def _is_sayable(record: ZoneRecord) -> bool:
    """Whether a record's name, and the name that it leads to, can be asked for: objects may have others."""
    leads = record.data.rpartition(" ")[2] if record.type in ("CNAME", "SRV") else "."
    return sayable(record.name) and sayable(leads)


def _zone_of(record: ZoneRecord | RoutedRecords, zones: Iterable[str]) -> str:
    """The zone that a record is in: the one of the longest name."""
    return max((zone for zone in zones if _inside(record.name, zone)), key=len)


def _inside(name: str, origin: str) -> bool:
    return origin == "." or name == origin or name.endswith("." + origin)
