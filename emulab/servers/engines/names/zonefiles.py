"""Zones as every make of name server is told them: plain records alone, in the text of zone files. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from emulab.servers.dns import rdata
from emulab.servers.dns.config import DnsConfig, Soa, ZoneConfig, ZoneRecord
from emulab.servers.dns.zone import start_of_authority

GENERATION = "generation.engine.invalid."
"""The name by whose TXT record a server says which configuration it follows."""
SHARED = "answered like records without them, all together"


class PlainZone(NamedTuple):
    """A zone with all that an engine answers."""

    origin: str
    records: Sequence[ZoneRecord]
    clients: tuple[str, ...] | None

    def below(self, name: str) -> bool:
        return self.origin == "." or name == self.origin or name.endswith("." + self.origin)


def plain_zones(config: DnsConfig) -> list[PlainZone]:
    """All zones, with the records of sets of which our own server would draw one."""
    return [PlainZone(z.origin, [*z.records, *_drawn(z)], z.clients) for z in config.zones]


def _drawn(zone: ZoneConfig) -> Iterator[ZoneRecord]:
    aliases = set()
    for one in zone.routed:
        for text in one.data:
            if one.type == "CNAME" and one.name in aliases:
                continue  # a name has one alias at most
            aliases.add(one.name)
            yield ZoneRecord(one.name, one.type, text, one.ttl)


def zone_file(zone: PlainZone, soa: Soa) -> str:
    """The text of a zone's file."""
    lines = []
    if not any(r.type == "SOA" for r in zone.records):
        start = start_of_authority(zone.origin, soa)
        lines.append(f"{zone.origin} {start.ttl} IN SOA {rdata.to_text(start.data)}")
    if not any(r.type == "NS" and r.name == zone.origin for r in zone.records):
        server = rdata.to_text(start_of_authority(zone.origin, soa).data).split()[0]
        lines.append(f"{zone.origin} {soa.minimum} IN NS {server}")
    lines += [f"{record.name} {record.ttl} IN {record.type} {presented(record)}" for record in zone.records]
    return "\n".join(dict.fromkeys(lines)) + "\n"


def presented(record: ZoneRecord) -> str:
    """A record's data as zone files have it: names absolute, texts in quotation marks."""
    number = rdata.type_number(record.type)
    data = rdata.from_text(number, record.data)
    if record.type == "TXT":
        return " ".join(f'"{_escaped(string)}"' for string in data.data)
    if record.type == "CAA":
        flags, tag, value = record.data.split(None, 2)
        return f'{flags} {tag} "{_escaped(value.strip(chr(34)).encode())}"'
    return rdata.to_text(data)


def _escaped(string: bytes) -> str:
    return "".join(chr(c) if 0x20 <= c < 0x7F and c not in b'"\\' else f"\\{c:03}" for c in string)
