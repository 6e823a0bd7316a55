"""A DNS server's configuration, understood: addresses parsed and zones built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import BadConfiguration
from emulab.servers.dns.config import (
    BlockConfig,
    CacheLimits,
    DnsConfig,
    Kubernetes,
    PodNames,
    Soa,
    ZoneConfig,
)
from emulab.servers.dns.directory import ClusterChanges, Directory, KeyedChanges
from emulab.servers.dns.kubernetes import ClusterNames, cluster_zones
from emulab.servers.dns.plugins.blocks import Blocks
from emulab.servers.dns.upstreams import Upstreams, upstreams
from emulab.servers.dns.zone import Authority, ServedZone, Zones
from emulab.servers.late import changed

ZoneSource = ZoneConfig | Kubernetes


@dataclass(slots=True, frozen=True)
class DnsSettings:
    """What a server goes by; `sources` are the zones as they were given and what became of each, for the next
    comparison."""

    listen: tuple[str, ...] = ()
    zones: Zones = field(default_factory=Zones)
    sources: tuple[tuple[ZoneSource, tuple[Authority, ...]], ...] = ()
    soa: Soa = field(default_factory=Soa)
    upstream: Upstreams = field(default_factory=Upstreams)
    blocks: Blocks = field(default_factory=Blocks)
    given: tuple[BlockConfig, ...] = ()
    refused: str = ""
    unread: bool = False
    lameduck: float = 0.0
    pages: Mapping[str, str] = field(default_factory=dict)
    limits: CacheLimits = field(default_factory=CacheLimits)
    recursion: bool = False
    tcp_idle: float = 10.0
    events: int = 10_000

    def changed(self, config: DnsConfig) -> DnsSettings:
        """The settings of another configuration, which take over the zones that stay as they are.

        Raises UserError.
        """
        try:
            # A resolver goes where it is sent, CoreDNS passes on what it is told.
            follows = bool(config.recursion) and config.kubernetes is None and not config.blocks
            upstream = replace(upstreams(config.forward, config.upstream), follows=follows)
        except ValueError as error:
            raise BadConfiguration(f"config.forward: {error}") from None
        try:
            blocks = Blocks(config.blocks, config.upstream)
        except ValueError as error:
            raise BadConfiguration(f"config.blocks: {error}") from None
        sources = self._sources(config)
        return DnsSettings(
            listen=config.listen,
            zones=Zones([zone for _, made in sources for zone in made]),
            sources=sources,
            soa=config.soa,
            upstream=upstream,
            blocks=blocks,
            given=config.blocks,
            refused=config.refused,
            unread=config.unread,
            lameduck=config.lameduck,
            pages=dict(config.pages),
            limits=config.cache,
            recursion=bool(upstream.servers) if config.recursion is None else config.recursion,
            tcp_idle=config.tcp_idle,
            events=config.events_per_second,
        )

    @property
    def is_coredns(self) -> bool:
        """Whether it answers as CoreDNS does: for a cluster, or by a Corefile."""
        return bool(self.given) or any(isinstance(source, Kubernetes) for source, _ in self.sources)

    @property
    def pods(self) -> Directory | None:
        """Where a cluster's Pods are; None where there is no cluster."""
        return next(
            (_directory(made) for source, made in self.sources if isinstance(source, Kubernetes)), None
        )

    def patched(
        self, changes: ClusterChanges, verified: KeyedChanges[PodNames] = MappingProxyType({})
    ) -> DnsSettings:
        """The settings with other Services, endpoints and Pods of a cluster. Raises BadConfiguration where there is
        none."""
        found: list[tuple[ZoneSource, tuple[Authority, ...]]] = []
        for source, made in self.sources:
            if isinstance(source, Kubernetes):
                kubernetes = replace(
                    source,
                    services=changed(source.services, changes.services),
                    slices=changed(source.slices, changes.slices),
                    verified=changed(source.verified or {}, verified) if verified else source.verified,
                )
                directory = Directory(kubernetes, _directory(made), changes)
                found.append((kubernetes, cluster_zones(directory, self.soa)))
            else:
                found.append((source, made))
        if all(new is old for (new, _), (old, _) in zip(found, self.sources, strict=True)):
            raise BadConfiguration("patch: this server has no cluster's names")
        return replace(self, sources=tuple(found), zones=Zones([zone for _, made in found for zone in made]))

    def _sources(self, config: DnsConfig) -> tuple[tuple[ZoneSource, tuple[Authority, ...]], ...]:
        """A zone may have tens of thousands of records, and most changes concern none of them."""
        soa = config.soa
        known = {_which(source): (source, made) for source, made in self.sources} if soa == self.soa else {}
        given: list[ZoneSource] = [*config.zones, *((config.kubernetes,) if config.kubernetes else ())]
        found = []
        for source in given:
            old, made = known.get(_which(source), (None, ()))
            found.append((source, made if old == source else _made(source, soa)))
        return tuple(found)


def _which(source: ZoneSource) -> tuple[object, ...]:
    """What a source of zones is known by."""
    if isinstance(source, Kubernetes):
        return (Kubernetes,)
    return source.origin, source.clients


def _directory(made: Iterable[Authority]) -> Directory:
    """What the zones of a cluster answer from."""
    return next(zone.directory for zone in made if isinstance(zone, ClusterNames))


def _made(source: ZoneSource, soa: Soa) -> tuple[Authority, ...]:
    if isinstance(source, Kubernetes):
        return cluster_zones(Directory(source), soa)
    return (ServedZone(source.origin, source.records, clients=source.clients, soa=soa, routed=source.routed),)
