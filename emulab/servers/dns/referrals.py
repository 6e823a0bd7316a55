"""Referrals: that a name has been delegated to other servers, and which these are (RFC 1034 section 4.3.2). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from emulab.servers.dns import rdata, wire
from emulab.servers.dns.names import Name, lower, suffixes
from emulab.servers.dns.upstreams import ServerAddress
from emulab.servers.dns.wire import ResourceRecord, Response

ADDRESSES = (rdata.A, rdata.AAAA)

MOST_REFERRALS = 8
MOST_SERVERS = 6  # of one delegation, so that it makes no more work
MOST_EXCHANGES = 32  # of one question, as unbound has it (`max-sent-count`)
MOST_DEEP = (
    4  # names of servers that have to be found to find those of servers (unbound's `max_dependency_depth`)
)
_PORT = 53


class Referral(NamedTuple):
    """The zone that a name belongs to, the addresses of its servers that were told, and the names of the others.
    `ttl`: that of the shortest of these records, which are `told` as zone files have them."""

    zone: Name
    servers: tuple[ServerAddress, ...]
    unknown: tuple[Name, ...]
    ttl: int
    told: tuple[str, ...]


def referral(response: Response, name: Name, above: Name) -> Referral | None:
    """Where a response leads on with `name`; None where it answers. `above` is the zone whose servers said it: only
    one below it counts, so that this comes to an end."""
    cuts = _cuts(response)
    zone = lower(cuts[0].owner) if cuts else ()
    if zone not in set(suffixes(name)) or len(zone) <= len(above):
        return None
    own = [record for record in cuts if lower(record.owner) == zone]
    hosts = list(dict.fromkeys(rdata.target(record.data) for record in own))
    known: dict[Name, list[str]] = {}
    for record in response.additional:
        owner = lower(record.owner)
        # Of hosts outside their zone servers know no more than anybody (RFC 2181 section 5.4.1).
        if record.rtype in ADDRESSES and owner[len(owner) - len(above) :] == above:
            known.setdefault(owner, []).append(rdata.to_text(record.data))
            if owner in hosts:
                own.append(record)
    servers = [(address, _PORT) for host in hosts for address in known.get(host, ())]
    unknown = tuple(host for host in hosts if host not in known)
    told = tuple(f"{rdata.type_name(record.rtype)} {rdata.to_text(record.data)}" for record in own)
    return Referral(
        *(zone, tuple(servers[:MOST_SERVERS]), unknown[:MOST_SERVERS]),
        ttl=min(record.ttl for record in own),
        told=told[: 2 * MOST_SERVERS],
    )


def leads_nowhere(response: Response, name: Name, above: Name) -> bool:
    """Whether servers of the zone `above` neither answer nor lead on: they refer to that zone again or to one above it
    or beside it, so they don't have it (a lame delegation, RFC 1912 section 2.8)."""
    return bool(_cuts(response)) and referral(response, name, above) is None


def within(response: Response, name: Name, zone: Name) -> Response:
    """What of an answer the servers of a zone can know: an alias that leads out of it is all that they tell of that
    name, and who is asked for the other one is who has it."""
    known: list[ResourceRecord] = []
    targets = {name}
    for record in response.answer:
        if lower(record.owner) not in targets:
            continue
        known.append(record)
        if record.rtype == rdata.CNAME:
            target = rdata.target(record.data)
            if target[max(len(target) - len(zone), 0) :] != zone:
                return Response(response.id, response.flags, wire.NOERROR, response.question, tuple(known))
            targets.add(target)
    return response


def addresses(answer: Iterable[ResourceRecord]) -> list[ServerAddress]:
    """The servers that an answer with addresses tells."""
    return [(rdata.to_text(record.data), _PORT) for record in answer if record.rtype in ADDRESSES]


def _cuts(response: Response) -> list[ResourceRecord]:
    """The NS records of a response that answers nothing, and has no SOA to say that there is nothing."""
    if response.rcode != wire.NOERROR or response.answer or response.flags & wire.AA:
        return []
    if any(record.rtype == rdata.SOA for record in response.authority):
        return []
    return [record for record in response.authority if record.rtype == rdata.NS]
