"""Zones: DNS records besides those that the lab publishes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.registry import ZONE
from emulab.model.checks import (
    Check,
    Problems,
    dns_zone,
    integer,
    ip,
    mapping,
    one_of,
    pattern,
    sequence,
    show,
    string,
    wrong,
)

if TYPE_CHECKING:
    from emulab.model.objects import Object

DEFAULT_TTL = 60
"""Seconds a Zone's record may be cached when it does not say."""


class Record(NamedTuple):
    name: str  # relative to the zone, "@" for the zone itself
    type: str  # A | AAAA | CNAME | TXT | SRV | MX | NS | PTR | CAA
    value: str
    ttl: int  # seconds

    @staticmethod
    def of(record: Mapping[str, Any]) -> Record:
        ttl = record.get("ttl")
        return Record(
            record.get("name") or "@", record["type"], record["value"], DEFAULT_TTL if ttl is None else ttl
        )


class Zone(NamedTuple):
    name: str
    visibility: str  # public | private
    records: tuple[Record, ...]

    @staticmethod
    def of(o: Object) -> Zone:
        records = tuple(Record.of(record) for record in o.spec.get("records") or ())
        return Zone(o.name, o.spec.get("visibility") or "public", records)


# What it may say

_NAME = r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?"

_domain = rf"(?:{_NAME}(?:\.{_NAME})*\.?|\.)"

_domain_name = pattern(_domain, "a DNS name", 254)

_record_name = pattern(rf"@|(?:\*\.)?{_NAME}(?:\.{_NAME})*|\*", "@, * or a name relative to the zone", 253)

_number = r"(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


def _address(version: int) -> Check:
    def check(value: Any) -> Problems:
        if ip(value) or ip_address(value).version != version:
            return wrong(f"{show(value)} is not an IPv{version} address")
        return ()

    return check


RECORD_VALUES: Mapping[str, Check] = {
    "A": _address(4),
    "AAAA": _address(6),
    "CNAME": _domain_name,
    "NS": _domain_name,
    "PTR": _domain_name,
    "TXT": pattern(r"(?s:.*)", "a text of at most 4096 characters", 4096),
    "MX": pattern(rf"{_number} +{_domain}", 'a mail exchange such as "10 mail.example.com"', 300),
    "SRV": pattern(
        rf"{_number} +{_number} +{_number} +{_domain}",
        'a service location "PRIORITY WEIGHT PORT TARGET" such as "0 5 5060 sip.example.com"',
        300,
    ),
    "CAA": pattern(
        r'(?:[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]) +[A-Za-z0-9]{1,15} +(?:"[ -~]{0,200}"|[!-~]{1,200})',
        'an authorization of a certificate authority such as 0 issue "letsencrypt.org"',
        300,
    ),
}
"""Record type → the check of its value in presentation format (RFC 1035 section 5, RFC 2782, RFC 8659)."""


def _value_fits(record: dict[str, Any]) -> Problems:
    return [(("value", *path), why) for path, why in RECORD_VALUES[record["type"]](record["value"])]


def _aliases_stand_alone(records: list[Any]) -> Problems:
    """RFC 1034 section 3.6.2: where there is a CNAME, there is nothing else; the apex always has an SOA."""
    found: list[Any] = []
    for index, record in enumerate(records):
        name = record.get("name", "@")
        if record["type"] != "CNAME":
            continue
        if name == "@":
            found += wrong("the zone's own name cannot be a CNAME", index, "type")
        elif any(
            i != index and other.get("name", "@").lower() == name.lower() for i, other in enumerate(records)
        ):
            found += wrong(f"{show(name)} has other records, so it cannot be a CNAME", index, "name")
    return found


_record = mapping(
    {
        "name": _record_name,
        "type": one_of(*RECORD_VALUES),
        "value": string,
        "ttl": integer(0, (1 << 31) - 1, "a number of seconds"),
    },
    required=("type", "value"),
    rules=(_value_fits,),
    closed=True,
)

zone_spec = mapping(
    {
        "visibility": one_of("public", "private"),
        "records": sequence(_record, rules=(_aliases_stand_alone,)),
    },
    closed=True,
)


def _cells(o: Raw, now: float) -> Cells:
    records = str(len(cells.spec(o).get("records") or ()))
    return [cells.name(o), str(cells.spec(o).get("visibility") or "public"), records, cells.age(o, now)], []


DEFINITION = Definition(
    check=whole(ZONE, dns_zone, zone_spec, optional_spec=True),
    columns=Columns(("NAME", "VISIBILITY", "RECORDS", "AGE"), (), _cells),
)
