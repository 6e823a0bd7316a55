"""A DNS server's configuration, understood: addresses parsed and zones built."""

from __future__ import annotations

from collections.abc import Iterable

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import BadConfiguration
from emulab.servers.dns.config import CacheLimits, DnsConfig, Soa, ZoneConfig
from emulab.servers.dns.zone import ServedZone, Zones

ServerAddress = tuple[str, int]


@dataclass(slots=True, frozen=True)
class Upstreams:
    """How to ask upstream servers: `timeout` seconds each, all of them `tries` times."""

    servers: tuple[ServerAddress, ...] = ()
    timeout: float = 1.0
    tries: int = 2


@dataclass(slots=True, frozen=True)
class DnsSettings:
    """What a server goes by; `sources` are the zones as they were given, for the next comparison."""

    listen: tuple[str, ...] = ()
    zones: Zones = field(default_factory=Zones)
    sources: tuple[ZoneConfig, ...] = ()
    soa: Soa = field(default_factory=Soa)
    upstream: Upstreams = field(default_factory=Upstreams)
    limits: CacheLimits = field(default_factory=CacheLimits)
    recursion: bool = False
    tcp_idle: float = 10.0
    events: int = 10_000

    def changed(self, config: DnsConfig) -> DnsSettings:
        """The settings of another configuration, which take over the zones that stay as they are.

        Raises UserError.
        """
        try:
            servers = tuple(map(parse_server_address, config.forward))
        except ValueError as error:
            raise BadConfiguration(f"config.forward: {error}") from None
        return DnsSettings(
            listen=config.listen,
            zones=self._zones(config.zones, config.soa),
            sources=config.zones,
            soa=config.soa,
            upstream=Upstreams(servers, config.upstream.timeout, config.upstream.tries),
            limits=config.cache,
            recursion=bool(servers) if config.recursion is None else config.recursion,
            tcp_idle=config.tcp_idle,
            events=config.events_per_second,
        )

    def _zones(self, wanted: Iterable[ZoneConfig], soa: Soa) -> Zones:
        """A cluster's zone has tens of thousands of records, and most changes concern none of them."""
        pairs = zip(self.sources, self.zones.zones, strict=True) if soa == self.soa else ()
        known = {(source.origin, source.clients): (source, zone) for source, zone in pairs}
        zones = []
        for given in wanted:
            source, zone = known.get((given.origin, given.clients), (None, None))
            if zone is None or source != given:
                zone = ServedZone(given.origin, given.records, clients=given.clients, soa=soa)
            zones.append(zone)
        return Zones(zones)


def parse_server_address(text: str, port: int = 53) -> ServerAddress:
    """`198.51.100.53:53`, `[2001:db8::1]:53`, or an address alone. Raises ValueError."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest else port
    if text.count(":") == 1:
        host, _, rest = text.partition(":")
        return host, int(rest)
    return text, port
