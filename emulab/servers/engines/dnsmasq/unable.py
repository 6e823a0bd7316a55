"""What of a configuration dnsmasq can't do here. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Set

from emulab.servers.dns.config import Asking, CacheLimits, ZoneConfig
from emulab.servers.engines.dnsmasq.conf import TIMED
from emulab.servers.engines.names.zonefiles import SHARED


def unable(zone: ZoneConfig, known: Set[str], ttl: int) -> Iterator[str]:
    """What of a zone, a few words each. `known` are the names that the server has, `ttl` is what records have that have
    none of their own."""
    if zone.routed:
        yield f"records by weight, failover and health aren't drawn by dnsmasq: they are {SHARED}"
    if zone.clients is not None:
        yield "dnsmasq answers it to everybody: it knows no clients of whom a zone is"
    for record in zone.records:
        name = record.name
        if record.type not in TIMED and record.ttl != ttl:
            yield f"{name} {record.type} has a TTL of {ttl}: dnsmasq has one for all but addresses and aliases"
        if name.startswith("*.") and record.type not in ("A", "AAAA"):
            yield f"{name} {record.type} isn't answered by dnsmasq: its wildcards have addresses alone"
        elif name.startswith("*."):
            yield f"{name} is {name[2:]} itself, too: so dnsmasq's wildcards are"
        if record.type == "CNAME" and f"{record.data.lower().rstrip('.')}." not in known:
            yield f"{name} leads out of what dnsmasq knows itself, where it follows no alias"
        if record.type == "NS" and name != zone.origin:
            yield f"{name} isn't delegated: dnsmasq refers nobody to other servers"


def settings(cache: CacheLimits, asking: Asking) -> Iterator[str]:
    """What of how a resolver resolves: by its field."""
    if asking.mixed_case:
        yield "mixedCase isn't done by dnsmasq"
    if cache.min_ttl > 3600:
        yield "minTTL: dnsmasq keeps nothing for longer than an hour against its TTL"
    if cache.negative_ttl != CacheLimits().negative_ttl:
        yield "negativeTTL isn't heeded by dnsmasq: it goes by the SOA alone"
