"""What a DNS server is told. TTLs and times are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import Configuration


class ZoneRecord(NamedTuple):
    """One record: its owner's whole name, its type and its data in the words of zone files."""

    name: str
    type: str
    data: str
    ttl: int


@dataclass(frozen=True, slots=True)
class ZoneConfig:
    """A zone. `clients` are the source networks that see it, None for everyone."""

    origin: str
    records: tuple[ZoneRecord, ...]
    clients: tuple[str, ...] | None = None


class NamedPort(NamedTuple):
    """A port of a Service or of its endpoints; number 0: it isn't said."""

    name: str
    protocol: str
    number: int


class NamedEndpoint(NamedTuple):
    """An address with its hostname, if it has one."""

    hostname: str
    address: str
    ready: bool


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """A Service as its names tell it: an ExternalName leads to `alias`, a `tolerant` one to endpoints that aren't
    ready, too."""

    namespace: str
    name: str
    addresses: tuple[str, ...] = ()
    headless: bool = False
    tolerant: bool = False
    alias: str = ""
    ports: tuple[NamedPort, ...] = ()


@dataclass(frozen=True, slots=True)
class SliceNames:
    """Endpoints of a Service, all of them with the same ports."""

    namespace: str
    service: str
    endpoints: tuple[NamedEndpoint, ...]
    ports: tuple[NamedPort, ...]


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """What a cluster's names follow from: no records, of which there would be several for each endpoint.

    A Service or slice is told by a key, by which its change is told, too.
    """

    domain: str
    namespaces: tuple[str, ...]
    services: Mapping[str, ServiceNames]
    slices: Mapping[str, SliceNames]
    ttl: int = 5


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Bounds of the cache: TTLs in seconds, `size` in answers.

    `min_ttl` above 0 keeps records longer than their owners said, for those who ask for that. For `stale` seconds more
    an answer that is too old is kept for the case that nobody gives another one (RFC 8767), and is given with
    `stale_ttl`; with `stale_first` it is given at once, and upstream asked beside that.
    """

    max_ttl: int = 3600
    min_ttl: int = 0
    negative_ttl: int = 30
    size: int = 10000
    stale: int = 0
    stale_ttl: int = 30
    stale_first: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    """How to ask upstream servers: `timeout` seconds each, all of them `tries` times.

    `mixed_case` sends names in letters of random case, which a forger would have to guess (draft-vixie-dnsext-dns0x20).
    """

    timeout: float = 1.0
    tries: int = 2
    mixed_case: bool = False


@dataclass(frozen=True, slots=True)
class Soa:
    """The SOA of zones that have none among their records. Without a `ttl` of its own, that is `minimum`."""

    serial: int = 1
    refresh: int = 7200
    retry: int = 1800
    expire: int = 86400
    minimum: int = 5
    ttl: int | None = None
    mname: str = ""  # ns.dns.ORIGIN
    rname: str = ""  # hostmaster.ORIGIN


@dataclass(frozen=True, slots=True)
class DnsConfig(Configuration):
    """The configuration of a server in any of the three roles.

    Without `forward`, addresses of upstream servers, it refuses what lies outside its zones; it offers `recursion`,
    where that isn't said, when it has them. `events_per_second` bounds how many queries and exchanges are told while
    someone records; the rest are counted only.
    """

    PATCHED = frozenset({"kubernetes.services", "kubernetes.slices"})

    zones: tuple[ZoneConfig, ...] = ()
    forward: tuple[str, ...] = ()
    recursion: bool | None = None
    cache: CacheLimits = field(default_factory=CacheLimits)
    soa: Soa = field(default_factory=Soa)
    upstream: Asking = field(default_factory=Asking)
    tcp_idle: float = 10.0
    events_per_second: int = 10_000
    kubernetes: Kubernetes | None = None

    @property
    def caches(self) -> bool:
        """Whether it asks others, and keeps what they say."""
        return bool(self.forward)
