"""What of a Zone's records nobody will find, or finds otherwise than was meant: what named-checkzone tells of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from emulab.model.addresses import is_address
from emulab.model.checks import show

if TYPE_CHECKING:
    from emulab.kinds.emulab.zone import Record

_TO_HOSTS = ("NS", "MX", "SRV")
"""Types whose name at the end must have addresses of its own (RFC 2181 section 10.3, RFC 2782)."""
_WITH_TARGETS = ("CNAME", "PTR", *_TO_HOSTS)


class OddRecord(NamedTuple):
    """A record by its number, the field of it, and what is odd there."""

    number: int
    field: str
    why: str


def odd_records(records: Sequence[Record], origin: str) -> Iterator[OddRecord]:
    """All of them, in a zone whose name is without its last dot."""
    origin = origin.lower()
    aliases = {_owner(record, origin): record for record in records if record.type == "CNAME"}
    cuts = {_owner(r, origin): r.name for r in records if r.type == "NS" and r.name != "@"}
    servers = {_target(r) for r in records if r.type == "NS"}
    ttls: dict[tuple[str, str], int] = {}
    for index, record in enumerate(records):
        owner, target = _owner(record, origin), _target(record)
        if target and is_address(target):
            yield OddRecord(index, "value", f"{target} is an address, where a name belongs: nobody asks it")
        elif record.type in _TO_HOSTS and target in aliases:
            yield OddRecord(
                index, "value", f"{target} is an alias, which {record.type} must not lead to (RFC 2181)"
            )
        elif record.type == "CNAME" and _leads_back(owner, aliases):
            yield OddRecord(index, "value", "the alias leads back to itself, so it has no end")
        cut = _cut_above(owner, cuts, origin)
        glue = record.type in ("A", "AAAA") and owner in servers
        if cut is not None and not glue and not (owner == cut and record.type == "NS"):
            why = f"is never answered: {cuts[cut]} is delegated to others"
            yield OddRecord(index, "name", why)
        if not record.routed and (first := ttls.setdefault((owner, record.type), record.ttl)) != record.ttl:
            what = f"{record.ttl} is not {first}, as of the first of {show(record.name)} {record.type}"
            yield OddRecord(
                index, "ttl", f"{what}: resolvers keep all of them for the shorter one (RFC 2181)"
            )


def _owner(record: Record, origin: str) -> str:
    return origin if record.name == "@" else f"{record.name}.{origin}".rstrip(".").lower()


def _target(record: Record) -> str:
    """The name that a record leads to, without its last dot; "" for one that leads nowhere."""
    return record.value.rpartition(" ")[2].rstrip(".").lower() if record.type in _WITH_TARGETS else ""


def _leads_back(owner: str, aliases: dict[str, Record]) -> bool:
    seen, name = set[str](), owner
    while name in aliases and name not in seen:
        seen.add(name)
        name = _target(aliases[name])
    return name == owner


def _cut_above(owner: str, cuts: dict[str, str], origin: str) -> str | None:
    """The name at or above a record's at which the zone is delegated."""
    while owner != origin and owner:
        if owner in cuts:
            return owner
        owner = owner.partition(".")[2]
    return None
