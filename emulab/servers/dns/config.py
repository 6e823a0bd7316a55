"""The configuration of a DNS server: JSON-able data in, checked values out.

    {"listen": ["udp/198.51.100.53/53", "tcp/198.51.100.53/53"],
     "zones": [{"origin": "example.com.", "clients": null,
                "records": [["shop.example.com.", "A", "203.0.113.10", 30]]}],
     "forward": null,
     "cache": {"max_ttl": 3600, "min_ttl": 0, "negative_ttl": 30, "size": 10000},
     "recursion": false, "soa": {"minimum": 5},
     "upstream": {"timeout": 1.0, "tries": 2}, "tcp_idle": 10.0, "events_per_second": 10000}

Only `listen` must be there. `clients` are the source networks that see the zone, null for everyone. Without
`forward` the server refuses what lies outside its zones. TTLs and times are in seconds.
`events_per_second` bounds how many queries and exchanges are told while someone records; the rest are
counted only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.errors import UserError
from emulab.servers.base import Config
from emulab.servers.dns.cache import Limits
from emulab.servers.dns.zone import Zone, Zones

Address = tuple[str, int]


@dataclass(slots=True, frozen=True)
class Upstream:
    """How to ask upstream servers: `timeout` seconds each, all of them `tries` times."""

    servers: tuple[Address, ...] = ()
    timeout: float = 1.0
    tries: int = 2


@dataclass(slots=True, frozen=True)
class Settings:
    """A checked configuration; `sources` are the zones as they were given, for the next comparison."""

    listen: tuple[str, ...] = ()
    zones: Zones = field(default_factory=Zones)
    sources: tuple[Any, ...] = ()
    upstream: Upstream = field(default_factory=Upstream)
    limits: Limits = field(default_factory=Limits)
    recursion: bool = False
    tcp_idle: float = 10.0
    events: int = 10_000


def parse_address(text: str, port: int = 53) -> Address:
    """`198.51.100.53:53`, `[2001:db8::1]:53`, or an address alone. Raises ValueError."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest else port
    if text.count(":") == 1:
        host, _, rest = text.partition(":")
        return host, int(rest)
    return text, port


def parse(config: Config, before: Settings) -> Settings:
    """Checks a configuration, whole. Zones equal to those of `before` are taken over, not built again.

    Raises UserError; nothing was changed then.
    """
    soa = config.get("soa") or {}
    try:
        servers = tuple(parse_address(text) for text in config.get("forward") or ())
        asking = config.get("upstream") or {}
        upstream = Upstream(servers, float(asking.get("timeout", 1.0)), int(asking.get("tries", 2)))
        limits = Limits(**{key: int(value) for key, value in (config.get("cache") or {}).items()})
        sources, zones = _zones(config.get("zones") or (), soa, before)
        return Settings(
            listen=tuple(config["listen"]),
            zones=zones,
            sources=sources,
            upstream=upstream,
            limits=limits,
            recursion=bool(config.get("recursion", bool(servers))),
            tcp_idle=float(config.get("tcp_idle", 10.0)),
            events=int(config.get("events_per_second", 10_000)),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"DNS configuration: {error!r}") from None


def _zones(wanted: Sequence[Any], soa: Any, before: Settings) -> tuple[tuple[Any, ...], Zones]:
    """The zones and what each was made of; a cluster's zone has tens of thousands of records."""
    old = dict(zip(before.sources, before.zones.zones, strict=True))
    sources, zones = [], []
    for given in wanted:
        clients = given.get("clients")
        source = (
            given["origin"],
            None if clients is None else tuple(clients),
            tuple(map(tuple, given.get("records") or ())),
            tuple(sorted(soa.items())),
        )
        sources.append(source)
        zones.append(old.get(source) or Zone(source[0], source[2], clients=source[1], soa=soa))
    return tuple(sources), Zones(zones)
