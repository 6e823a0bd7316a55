"""Zones: DNS records besides those that the lab publishes by itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.kinds import cells
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.emulab.balancing import HEALTH_CHECK, asks_by_http
from emulab.kinds.emulab.zoneoddities import odd_records
from emulab.kinds.fields import Fields, LinesBelow, Slices, aligned
from emulab.kinds.registry import LOAD_BALANCER, SERVICE, ZONE
from emulab.model.checks import (
    Check,
    Problems,
    dns_1035_label,
    dns_label,
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
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_LONGEST_NAME = 253
DEFAULT_TTL = 60
"""Seconds a Zone's record may be cached when it does not say."""


class Record(NamedTuple):
    name: str  # relative to the zone, "@" for the zone itself
    type: str  # A | AAAA | CNAME | TXT | SRV | MX | NS | PTR | CAA
    value: str
    ttl: int  # seconds
    weight: int | None = None
    failover: str = ""  # primary | secondary
    set_identifier: str = ""
    health_check: Mapping[str, Any] | None = None

    @staticmethod
    def of(record: Mapping[str, Any]) -> Record:
        ttl = record.get("ttl")
        return Record(
            record.get("name") or "@",
            record["type"],
            record["value"],
            DEFAULT_TTL if ttl is None else ttl,
            record.get("weight"),
            record.get("failover") or "",
            record.get("setIdentifier") or "",
            record.get("healthCheck"),
        )

    @property
    def routed(self) -> bool:
        """Whether it is answered by weight, failover or health, and not with all others of its name and type."""
        return self.weight is not None or bool(self.failover) or self.health_check is not None

    @property
    def text(self) -> str:
        """How it is spoken of: `www A 203.0.113.10`."""
        return f"{self.name} {self.type} {self.value}"


class Zone(NamedTuple):
    name: str
    visibility: str  # public | private
    records: tuple[Record, ...]

    @staticmethod
    def of(o: Object) -> Zone:
        records = tuple(Record.of(record) for record in o.spec.get("records") or ())
        return Zone(o.name, o.spec.get("visibility") or "public", records)

    def asks_of(self, balancer: Object) -> bool:
        """Whether a record is healthy as that LoadBalancer, or that Service's balancer, is."""
        return any(_asked(record.health_check or {}) == balanced_by(balancer) for record in self.records)


def balanced_by(balancer: Object) -> tuple[str, str, str]:
    """By what a LoadBalancer or a Service is known in health checks of records."""
    return balancer.kind, balancer.namespace, balancer.name


def _asked(check: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The balancer that a check is about."""
    if service := check.get("service"):
        return "Service", service.get("namespace") or "default", service["name"]
    return ("LoadBalancer", "", check["loadBalancer"]) if check.get("loadBalancer") else None


# What it may say

_NAME = r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?"

_domain = rf"(?:{_NAME}(?:\.{_NAME})*\.?|\.)"

_domain_name = pattern(_domain, "a DNS name", 254)

_plain_name = pattern(rf"@|(?:\*\.)?{_NAME}(?:\.{_NAME})*|\*", "@, * or a name relative to the zone", 253)


def _record_name(value: Any) -> Problems:
    """A name; one of other letters is told as the DNS has it (RFC 5890)."""
    problems = _plain_name(value)
    if problems and isinstance(value, str) and not value.isascii():
        with suppress(UnicodeError):
            coded = value.encode("idna").decode()
            if not _plain_name(coded) and coded.encode().decode("idna") == value.lower():
                return wrong(f"{show(value)} is {coded} in the DNS: write it so")
    return problems


_number = r"(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


def _address(version: int) -> Check:
    def check(value: Any) -> Problems:
        if ip(value) or ip_address(value).version != version:
            return wrong(f"{show(value)} is not an IPv{version} address")
        return ()

    return check


_plain_text = pattern(r"(?s:.*)", "a text of at most 4096 characters", 4096)
_LONGEST_STRING = 255  # octets, of which a TXT record has several (RFC 1035 section 3.3.14)


_WITH_TARGETS = ("CNAME", "NS", "PTR", "MX", "SRV")
"""Types whose value ends with a name."""


def _text(value: Any) -> Problems:
    """One text, which is cut where it is too long for one string, or several strings in quotes."""
    if (problems := _plain_text(value)) or not value.startswith('"'):
        return problems
    try:
        strings = shlex.split(value)
    except ValueError:
        return wrong(f"{show(value)} has a quotation that doesn't end")
    if any(len(string.encode()) > _LONGEST_STRING for string in strings):
        return wrong(f"{show(value)} has a string of more than {_LONGEST_STRING} octets: make it several")
    return ()


RECORD_VALUES: Mapping[str, Check] = {
    "A": _address(4),
    "AAAA": _address(6),
    "CNAME": _domain_name,
    "NS": _domain_name,
    "PTR": _domain_name,
    "TXT": _text,
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
    """RFC 1034 section 3.6.2: where there is a CNAME, there is nothing else; the apex always has an SOA.

    Of several by weight or failover one is answered at a time.
    """
    found: list[Any] = []
    for index, record in enumerate(records):
        name = record.get("name", "@")
        if record["type"] != "CNAME":
            continue
        if name == "@":
            found += wrong("the zone's own name cannot be a CNAME", index, "type")
        elif any(
            i != index
            and other.get("name", "@").lower() == name.lower()
            and not (other["type"] == "CNAME" and _is_one_of_several(record) and _is_one_of_several(other))
            for i, other in enumerate(records)
        ):
            found += wrong(f"{show(name)} has other records, so it cannot be a CNAME", index, "name")
    return found


def _is_one_of_several(record: Mapping[str, Any]) -> bool:
    """Whether it is answered in the place of others, not beside them."""
    return "weight" in record or "failover" in record


_WAYS = ("weight", "failover")


def _routed_alike(records: list[Any]) -> Problems:
    """Route 53: records of one name and type are all by weight, all by failover, or none; a set has one weight."""
    found: list[Any] = []
    first: dict[tuple[str, str], dict[str, Any]] = {}
    sets: dict[tuple[str, str, str], dict[str, Any]] = {}
    for index, record in enumerate(records):
        which = record.get("name", "@").lower(), record["type"]
        leader = first.setdefault(which, record)
        for way in _WAYS:
            if (way in record) != (way in leader):
                what = f"of {show(which[0])} {which[1]} some records have {way} and others don't"
                found += wrong(f"{what}: all have it, or none", index, *((way,) if way in record else ()))
                break
        if identifier := record.get("setIdentifier"):
            same = sets.setdefault((*which, identifier), record)
            for way in _WAYS:
                if same.get(way) != record.get(way):
                    what = f"{show(record.get(way))} is not that of the same setIdentifier before"
                    found += wrong(what, index, way)
    return found


def _check_has_target(record: dict[str, Any]) -> Problems:
    check = record.get("healthCheck")
    if check is None:
        return ()
    elsewhere = [field for field in ("loadBalancer", "service") if field in check]
    asks = [field for field in check if field not in ("loadBalancer", "service")]
    if len(elsewhere) > 1 or (elsewhere and asks):
        other = (elsewhere + asks)[1]
        return wrong(f"{elsewhere[0]} says it all, so there is no {other} beside it", "healthCheck", other)
    if record["type"] not in ("A", "AAAA") and not elsewhere and "address" not in check:
        what = (
            f"needs address, loadBalancer or service: a record of type {record['type']} has no address itself"
        )
        return wrong(what, "healthCheck")
    return ()


def _by_one_way(record: dict[str, Any]) -> Problems:
    if all(way in record for way in _WAYS):
        return wrong("goes with weight in no record: it is by weight, or by failover", "failover")
    if "setIdentifier" in record and not _is_one_of_several(record):
        return wrong("needs weight or failover", "setIdentifier")
    return ()


_zone_health_check = mapping(
    {
        **HEALTH_CHECK,
        "address": ip,
        "loadBalancer": dns_label,
        "service": mapping({"namespace": dns_label, "name": dns_1035_label}, required=("name",), closed=True),
    },
    rules=(asks_by_http,),
    closed=True,
)

_record = mapping(
    {
        "name": _record_name,
        "type": one_of(*RECORD_VALUES),
        "value": string,
        "ttl": integer(0, (1 << 31) - 1, "a number of seconds"),
        "weight": integer(0, 255, "a weight"),
        "failover": one_of("primary", "secondary"),
        "setIdentifier": pattern(r"[ -~]+", "a text of at most 128 printable characters", 128),
        "healthCheck": _zone_health_check,
    },
    required=("type", "value"),
    rules=(_value_fits, _by_one_way, _check_has_target),
    closed=True,
)

zone_spec = mapping(
    {
        "visibility": one_of("public", "private"),
        "records": sequence(_record, rules=(_aliases_stand_alone, _routed_alike)),
    },
    closed=True,
)


def _names_fit(zone: dict[str, Any]) -> Problems:
    """A record's name is of at most 253 letters with that of its zone (RFC 1035 section 2.3.4)."""
    records = (zone.get("spec") or {}).get("records") or ()
    found: list[Any] = []
    for index, record in enumerate(records):
        if len(f"{record.get('name') or '@'}.{zone['metadata']['name']}") > _LONGEST_NAME:
            found += wrong("is too long with the zone's name behind it", "spec", "records", index, "name")
    return found


def _cells(o: Raw, now: float) -> Cells:
    records = str(len(cells.spec(o).get("records") or ()))
    return [cells.name(o), str(cells.spec(o).get("visibility") or "public"), records, cells.age(o, now)], []


def _outdated(old: Object, new: Object) -> tuple[str, ...]:
    return ("unhealthyRecords",) if old.spec.get("records") != new.spec.get("records") else ()


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    for odd in odd_records(Zone.of(o).records, o.name.rstrip(".")):
        yield Finding(o, ("spec", "records", odd.number, odd.field), odd.why)
    for index, record in enumerate(Zone.of(o).records):
        target = record.value.rpartition(" ")[2] if record.type in _WITH_TARGETS else "."
        if "." not in target:
            what = f"{show(target)} stands for {target}. at the root, not for {target}.{o.name}."
            yield Finding(o, ("spec", "records", index, "value"), what)
        if (glue := _missing_glue(record, o)) is not None:
            what = (
                f"nobody finds this server in what is delegated to it: add a record {glue} with its address"
            )
            yield Finding(o, ("spec", "records", index, "value"), what)
        asked = _asked(record.health_check or {})
        if asked is None:
            continue
        kind, namespace, name = asked
        found = world.get((SERVICE if kind == "Service" else LOAD_BALANCER).key(namespace, name))
        path = ("spec", "records", index, "healthCheck", "service" if namespace else "loadBalancer")
        if found is None:
            where = f" in namespace {namespace}" if namespace else ""
            yield Finding(o, path, f"there is no {kind} {name}{where}, so the record is not healthy")
        elif namespace and found.spec.get("type") != "LoadBalancer":
            yield Finding(o, path, f"{found.key} has no balancer, so the record is not healthy")


def _missing_glue(record: Record, o: Object) -> str | None:
    """The name of the record that a delegation to a server within what is delegated needs, and which isn't there."""
    zone, target = o.name.rstrip(".").lower(), record.value.rstrip(".").lower()
    below = f"{record.name.lower()}.{zone}"
    if record.type != "NS" or record.name == "@" or not (target == below or target.endswith(f".{below}")):
        return None
    name = target.removesuffix(f".{zone}")
    known = {one.name.lower() for one in Zone.of(o).records if one.type in ("A", "AAAA")}
    return None if name in known else name


def _describe(o: Raw, _beside: Slices) -> Fields:
    status = {one["record"]: one.get("check") or "" for one in cells.status(o).get("unhealthyRecords") or ()}
    rows = []
    for record in map(Record.of, cells.spec(o).get("records") or ()):
        way = record.failover or ("" if record.weight is None else f"weight {record.weight}")
        state = NONE
        if record.health_check is not None:
            asked = _asked(record.health_check)
            state = f"as {asked[0]} {asked[2]}" if asked else "healthy"
        if record.text in status:
            state = f"unhealthy: {status[record.text]}"
        rows.append([record.name, record.type, record.value, str(record.ttl), way or NONE, state])
    table = aligned(["Name", "Type", "Value", "TTL", "Routing", "Health"], rows)
    return [
        ("Visibility", str(cells.spec(o).get("visibility") or "public")),
        ("Records", LinesBelow("", table) if rows else NONE),
    ]


DEFINITION = Definition(
    check=whole(ZONE, dns_zone, zone_spec, optional_spec=True, rules=(_names_fit,)),
    outdated=_outdated,
    warnings=_warnings,
    describe=_describe,
    columns=Columns(("NAME", "VISIBILITY", "RECORDS", "AGE"), (), _cells),
)
