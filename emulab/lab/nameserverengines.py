"""What of Zones and Resolvers the programs can't do that serve in the place of emulab's own name servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.emulab.resolver import Resolver
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.images import OWN_ENGINE
from emulab.kinds.registry import CLUSTER, RESOLVER, ZONE
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.dns import resolver_config, zone_config
from emulab.plan.kept import PlanSource
from emulab.servers.dns.config import ZoneConfig
from emulab.servers.engines.dnsmasq import unable as dnsmasq
from emulab.servers.engines.dnsmasq.conf import common_ttl
from emulab.servers.engines.unbound import unable as unbound

_UNBOUND, _DNSMASQ = "unbound", "dnsmasq"


def unfollowed(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """Of Zones and Resolvers that are `given`; of all with a new Cluster, and of private Zones with a new Resolver."""
    cluster, keys = cluster_of(objects), {o.key for o in given}
    engines = {o.name: Resolver.of(o).engine for o in objects.kind(RESOLVER)}
    if {cluster.dns_engine, *engines.values()} == {OWN_ENGINE}:
        return
    all_new = any(o.type == CLUSTER for o in given)
    source = PlanSource.of(objects)
    zones = {o.key: o for o in objects.kind(ZONE)}
    told = {key: zone_config(o, source, cluster, ()) for key, o in zones.items()}
    public = [key for key, o in zones.items() if Zone.of(o).visibility == "public"]
    new = {name for name in engines if RESOLVER.key("", name) in keys}
    used = [(cluster.dns_engine, public, all_new)]
    private = [key for key in zones if key not in public]
    for engine in dict.fromkeys(engines.values()):
        used.append((engine, private, any(engines[name] == engine for name in new)))
    for engine, served, anew in used:
        for key, what in _of_zones(engine, {key: told[key] for key in served}):
            if anew or key in keys:
                yield Finding(zones[key], (), what)
    for o in objects.kind(RESOLVER):
        if o.key in keys and engines[o.name] == _DNSMASQ:
            config = resolver_config(Resolver.of(o), (), (), cluster)
            for what in dnsmasq.settings(config.cache, config.upstream):
                yield Finding(o, ("spec",), what)


def _of_zones(engine: str, zones: Mapping[Key, ZoneConfig]) -> Iterator[tuple[Key, str]]:
    known = {record.name.lower() for zone in zones.values() for record in zone.records}
    ttl = common_ttl([record for zone in zones.values() for record in zone.records])
    for key, zone in zones.items():
        if engine == _UNBOUND:
            yield from ((key, what) for what in unbound.unable(zone))
        elif engine == _DNSMASQ:
            yield from ((key, what) for what in dnsmasq.unable(zone, known, ttl))
