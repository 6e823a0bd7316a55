"""What a DNS server is told. TTLs and times are in seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import Configuration
from emulab.servers.health.config import HealthPolicy

HOLE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")
"""What stands in a template for something else."""
_FIELD = r"\.(?P<field>Name|Zone|Class|Type|Question\.Name)"
_FOUND = r"\.Group\.(?P<group>\w+)|(?P<open>\()?index \.(?P<list>Match|Group) \"?(?P<index>\w+)\"?(?(open)\))"
HOLE_WORD = re.compile(rf"{_FIELD}|(?P<number>parseInt )?(?:{_FOUND})(?(number) (?P<base>\d+) (?P<bits>\d+))")
"""What is followed of it."""
_RCODES = """
NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED YXDOMAIN YXRRSET NXRRSET NOTAUTH NOTZONE DSOTYPENI
"""
_EXTENDED = "BADSIG BADKEY BADTIME BADMODE BADNAME BADALG BADTRUNC BADCOOKIE"
RCODES = {
    **{word: code for code, word in enumerate(_RCODES.split())},
    **{word: code for code, word in enumerate(_EXTENDED.split(), 16)},
    "NOTIMPL": 4,
}
"""Response codes by the names that CoreDNS has for them (`StringToRcode` of miekg/dns)."""
_NAMES = """
A AAAA AFSDB ANY APL AXFR CAA CDNSKEY CDS CERT CNAME CSYNC DHCID DLV DNAME DNSKEY DS EUI48 EUI64 HINFO HIP HTTPS
IPSECKEY IXFR KEY KX LOC MX NAPTR NS NSEC NSEC3 NSEC3PARAM NULL OPENPGPKEY OPT PTR RP RRSIG SIG SOA SPF SRV SSHFP SVCB
TA TKEY TLSA TSIG TXT URI ZONEMD
"""
ASKED_TYPES = frozenset(_NAMES.split())
"""Types that a Corefile may name: those of CoreDNS (`StringToType` of miekg/dns) that anybody asks for."""


def check_template(text: str) -> None:
    """Raises ValueError for what isn't followed of Go's templates."""
    for hole in HOLE.finditer(text):
        if not HOLE_WORD.fullmatch(hole[1]):
            raise ValueError(
                f"{hole[0]!r} isn't followed in a template; .Name, .Zone, .Type, .Group.NAME are"
            )


class ZoneRecord(NamedTuple):
    """One record: its owner's whole name, its type and its data in the words of zone files."""

    name: str
    type: str
    data: str
    ttl: int


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """Who is asked whether a record's target is well; it is told of this zone and record."""

    zone: str
    record: str
    address: str
    port: int
    policy: HealthPolicy


@dataclass(frozen=True, slots=True)
class RoutedRecords:
    """Records of one name and type of which others have more, answered in their place and not beside them.

    By `weight`, by `failover` (primary or secondary), or, without either, beside others that are healthy. What is told
    elsewhere of its health is `healthy`, what is found out here the business of `checks`: all of them must pass.
    """

    name: str
    type: str
    data: tuple[str, ...]
    ttl: int
    weight: int | None = None
    failover: str = ""
    healthy: bool = True
    checks: tuple[RecordCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class ZoneConfig:
    """A zone. `clients` are the source networks that see it, None for everyone."""

    origin: str
    records: tuple[ZoneRecord, ...]
    clients: tuple[str, ...] | None = None
    routed: tuple[RoutedRecords, ...] = ()


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

    endpoints: tuple[NamedEndpoint, ...]
    ports: tuple[NamedPort, ...]


@dataclass(frozen=True, slots=True)
class PodNames:
    """A Pod as far as names go: where somebody asks from, and what the names of addresses are checked by."""

    namespace: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """What a cluster's names follow from: no records, of which there would be several for each endpoint.

    Services have keys of the form NAMESPACE/NAME, slices NAMESPACE/SERVICE/NAME: by these they are found, and read when
    that happens. Changes are told by keys, those of Pods, too. `exposed`: the only namespaces, but not of reverse names
    where it `points_everywhere`. `pods`: addresses with dashes are names, of `verified` Pods alone where these are
    told. `ignore_empty`: a Service without endpoints has no name. `reverse` are the zones of reverse names; below
    `fallthrough` others are asked for what isn't there.
    """

    domain: str
    namespaces: tuple[str, ...]
    services: Mapping[str, ServiceNames]
    slices: Mapping[str, SliceNames]
    ttl: int = 5
    exposed: tuple[str, ...] | None = None
    points_everywhere: bool = False
    pods: bool = True
    verified: Mapping[str, PodNames] | None = None
    ignore_empty: bool = False
    reverse: tuple[str, ...] = ("in-addr.arpa.", "ip6.arpa.")
    fallthrough: tuple[str, ...] = ("in-addr.arpa.", "ip6.arpa.")


class AnswerRule(NamedTuple):
    """What becomes of names in answers to a question that was rewritten: `of` name, the owners of records, or value,
    what they lead to. Those that the regular expression `old` finds become `new`."""

    of: str
    old: str
    new: str


class RewriteRule(NamedTuple):
    """What is asked for, or answered, in the place of something else (`rewrite` of CoreDNS).

    `matching` is exact, prefix, suffix, substring or regex, `old` what of names it matches. By `field` is changed:

    * name: to `new`. With `auto` names of answers are written back, after what `answers` make of them;
    * type: from `old` to `new`;
    * ttl: into the bounds `low` and `high`; rcode: from the number `low` to `high`.
    """

    matching: str
    old: str
    new: str
    auto: bool = False
    goes_on: bool = False  # to the next rule
    field: str = "name"
    answers: tuple[AnswerRule, ...] = ()
    low: int = 0
    high: int = 0


class HostNames(NamedTuple):
    """A line of a hosts file."""

    address: str
    names: tuple[str, ...]


class ZoneFile(NamedTuple):
    """The records of a zone file, none of one that isn't there (`file` of CoreDNS)."""

    origin: str
    records: tuple[ZoneRecord, ...]


@dataclass(frozen=True, slots=True)
class HostsConfig:
    """Names as a hosts file has them. Below `fallthrough` others are asked for what isn't there, and where it
    `passes_types` for all that is no address."""

    zones: tuple[str, ...]
    entries: tuple[HostNames, ...]
    fallthrough: tuple[str, ...] = ()
    ttl: int = 3600
    reverse: bool = True
    passes_types: bool = False


@dataclass(frozen=True, slots=True)
class TemplateConfig:
    """Records that are made of the name that is asked for, where one of `matches`, regular expressions, finds it.

    Records are lines of zone files with `{{ .Name }}`, `{{ .Group.x }}` and the like in them. `rtype` may be ANY.
    """

    zones: tuple[str, ...]
    rtype: str
    matches: tuple[str, ...] = (".*",)
    answers: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()
    rcode: str = "NOERROR"
    fallthrough: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForwardConfig:
    """Upstream servers for the names below `origin`, but for those below `apart`; each may be the first where they are
    `shuffled`. They are asked over TCP alone with `stream`."""

    origin: str
    servers: tuple[str, ...]
    apart: tuple[str, ...] = ()
    shuffled: bool = False
    stream: bool = False


@dataclass(frozen=True, slots=True)
class AutopathConfig:
    """Search domains that are gone through in the client's place (`autopath` of CoreDNS): those of its Pod where they
    are `of_pods`, else `search`. It is about names in `zones`."""

    zones: tuple[str, ...]
    search: tuple[str, ...] = ()
    of_pods: bool = False


COMMON_LOG = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}"'
    " {rcode} {>rflags} {rsize} {duration}"
)
"""The line of a query where nothing else is said."""


class LogRule(NamedTuple):
    """Names of which queries are logged, of which classes (success, denial, error or all), and how: as `COMMON_LOG`
    without a format."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    format: str = ""


class AccessPolicy(NamedTuple):
    """What becomes of queries of some types by clients in some networks; without either: of all (`acl` of CoreDNS).

    `action` is allow, block, filter or drop.
    """

    action: str
    types: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


class AccessRule(NamedTuple):
    """Policies for names in some zones, of which the first that fits counts."""

    zones: tuple[str, ...]
    policies: tuple[AccessPolicy, ...]


@dataclass(frozen=True, slots=True)
class BlockConfig:
    """What becomes of queries for names in `zones`: a server block of a Corefile.

    In this order: names that are `local` and ANY, rewritten, led along search domains, each of which `access` lets
    through, made of templates, looked up among hosts and then, where it has them (`cluster`), the cluster's names, in
    `files`, below `files_through` of which others are asked for what isn't there, and forwarded, by way of the cache
    where it has one (`caches`). Lines of queries are `logs`, those of what went wrong `errors`.
    """

    zones: tuple[str, ...]
    rewrites: tuple[RewriteRule, ...] = ()
    autopath: AutopathConfig | None = None
    templates: tuple[TemplateConfig, ...] = ()
    hosts: HostsConfig | None = None
    cluster: bool = False
    files: tuple[ZoneFile, ...] = ()
    files_through: tuple[str, ...] = ()
    forward: tuple[ForwardConfig, ...] = ()
    caches: bool = False
    cached: tuple[str, ...] = ()  # the zones of which it caches answers; none: all of its own
    any: bool = False  # whether ANY is answered with nothing but a word (RFC 8482)
    local: bool = False  # whether localhost and its kin are answered on the spot
    localhost_prefix: bool = True  # whether localhost.ANYTHING is, too
    minimal: bool = False  # whether answers have no records beside them
    access: tuple[AccessRule, ...] = ()
    size: int = 0  # the most that is sent by UDP; 0: as the client says
    limits: CacheLimits | None = None  # of the answers that it caches; None: those of the server
    logs: tuple[LogRule, ...] = ()
    errors: bool = False


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Bounds of the cache: TTLs in seconds, `size` in answers.

    `min_ttl` above 0 keeps records longer than their owners said, for those who ask for that, and `negative_min` that
    there are none. That a server failed is kept for `failure_ttl` (RFC 9520), unless something better is known. For
    `stale` seconds more an answer that is too old is kept for the case that nobody gives another one (RFC 8767), and is
    given with `stale_ttl`; with `stale_first` it is given at once, and upstream asked beside that.
    """

    max_ttl: int = 3600
    min_ttl: int = 0
    negative_ttl: int = 30
    size: int = 10000
    stale: int = 0
    stale_ttl: int = 30
    stale_first: bool = False
    negative_min: int = 0
    failure_ttl: int = 0


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


NODE_CACHE_METRICS = "node-cache-metrics"
"""A page of metrics with those of node-cache's own among them."""


@dataclass(frozen=True, slots=True)
class DnsConfig(Configuration):
    """The configuration of a server in any of the three roles.

    `refused` is why it doesn't go by the Corefile that is written, with which it would not even `begin`; `unread`: it
    goes by another one, as nobody has it look for changes. `pages` are the TCP ports of what is told over HTTP:
    by their numbers `metrics`, NODE_CACHE_METRICS, `health` or `ready`.

    With `blocks` a query is that block's whose zone is the longest one above its name, or refused; `forward` is for
    servers without. Without `forward`, addresses of upstream servers, it refuses what lies outside its zones; it offers
    `recursion`, where that isn't said, when it has them. `events_per_second` bounds how many queries and exchanges are
    told while someone records; the rest are counted only. Told to end, it answers for `lameduck` seconds more, if it
    has them.
    """

    PATCHED = frozenset({"kubernetes.services", "kubernetes.slices", "kubernetes.verified"})
    LATE = frozenset({"kubernetes.services", "kubernetes.slices"})

    zones: tuple[ZoneConfig, ...] = ()
    forward: tuple[str, ...] = ()
    recursion: bool | None = None
    cache: CacheLimits = field(default_factory=CacheLimits)
    soa: Soa = field(default_factory=Soa)
    upstream: Asking = field(default_factory=Asking)
    tcp_idle: float = 10.0
    events_per_second: int = 10_000
    kubernetes: Kubernetes | None = None
    blocks: tuple[BlockConfig, ...] = ()
    refused: str = ""
    begins: bool = True
    unread: bool = False
    lameduck: float = 0.0
    pages: Mapping[str, str] = field(default_factory=dict)

    @property
    def caches(self) -> bool:
        """Whether it asks others, and keeps what they say."""
        return bool(self.forward) or any(block.caches for block in self.blocks)
