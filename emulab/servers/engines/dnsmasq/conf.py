"""dnsmasq.conf, from what our own name server would be told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dnslib.label import DNSBuffer

from emulab.servers.base import parse_socket_key
from emulab.servers.dns import rdata
from emulab.servers.dns.config import DnsConfig, ZoneRecord
from emulab.servers.dns.upstreams import parse_server_address
from emulab.servers.engines.names.zonefiles import GENERATION, plain_zones

FOLDER = "/usr/share/dnsmasq-base"
CONF = f"{FOLDER}/dnsmasq.conf"
TIMED = frozenset({"A", "AAAA", "CNAME"})
"""Types of which each record has a TTL of its own; all others have one together."""
LONGEST_MINIMUM = 3600
"""Seconds that dnsmasq keeps an answer at least, at most (`--min-cache-ttl`)."""

_OPTIONS = """\
no-resolv
no-hosts
no-poll
bind-interfaces
keep-in-foreground
user=
group=
pid-file=
edns-packet-max=1232
log-facility=-
"""


def dnsmasq_files(config: DnsConfig, generation: int) -> Mapping[str, str]:
    """All files by their paths, the configuration first."""
    return {CONF: _OPTIONS + "\n".join(_lines(config, generation)) + "\n"}


def common_ttl(records: Sequence[ZoneRecord]) -> int:
    """The TTL of all records but those that have one each: the shortest that is asked for."""
    return min((record.ttl for record in records if record.type not in TIMED), default=0)


def _lines(config: DnsConfig, generation: int) -> Iterator[str]:
    sockets = sorted({parse_socket_key(key)[1:] for key in config.listen})
    for port in sorted({port for _, port in sockets}):
        yield f"port={port}"
    for address, _ in sockets:
        yield f"listen-address={address}"
    zones = plain_zones(config)
    records = [record for zone in zones for record in zone.records]
    cache = config.cache
    yield f"cache-size={cache.size}"
    yield f"local-ttl={common_ttl(records)}"
    if config.forward:
        yield f"max-cache-ttl={cache.max_ttl}"
        yield f"max-ttl={cache.max_ttl}"
        yield f"min-cache-ttl={min(cache.min_ttl, LONGEST_MINIMUM)}"
        if cache.stale:
            yield f"use-stale-cache={cache.stale}"
        yield "strict-order"
        for text in config.forward:
            address, port = parse_server_address(text)
            yield f"server={address}#{port}"
    for zone in zones:
        if zone.origin == ".":
            yield "address=/#/"  # of nobody else's names there is any
        else:
            yield f"local=/{zone.origin.rstrip('.')}/"
    yield f'txt-record={GENERATION.rstrip(".")},"{generation}"'
    yield from (_record(record) for record in records)


def _record(record: ZoneRecord) -> str:
    name, data = record.name.rstrip("."), record.data
    if record.type in ("A", "AAAA"):
        if name.startswith("*."):
            return f"address=/{name[2:]}/{data}"
        return f"host-record={name},{data},{record.ttl}"
    if record.type == "CNAME":
        return f"cname={name},{data.rstrip('.')},{record.ttl}"
    packed = DNSBuffer()
    rdata.from_text(rdata.type_number(record.type), data).pack(packed)
    return f"dns-rr={name},{rdata.type_number(record.type)},{bytes(packed.data).hex()}"
