"""Referrals: that a name has been delegated to other servers, and which these are (RFC 1034 section 4.3.2). Pure."""

from __future__ import annotations

from typing import NamedTuple

from emulab.servers.dns import rdata, wire
from emulab.servers.dns.names import Name, lower, suffixes
from emulab.servers.dns.upstreams import ServerAddress
from emulab.servers.dns.wire import Response

MOST_REFERRALS = 8
MOST_SERVERS = 6  # of one delegation, so that it makes no more work
_PORT = 53


class Referral(NamedTuple):
    """The zone that a name belongs to, the addresses of its servers that were told, and the names of the others."""

    zone: Name
    servers: tuple[ServerAddress, ...]
    unknown: tuple[Name, ...]


def referral(response: Response, name: Name, above: Name) -> Referral | None:
    """Where a response leads on with `name`; None where it answers. `above` is the zone whose servers said it: only
    one below it counts, so that this comes to an end."""
    if response.rcode != wire.NOERROR or response.answer or response.flags & wire.AA:
        return None
    cuts = [record for record in response.authority if record.rtype == rdata.NS]
    zone = lower(cuts[0].owner) if cuts else ()
    if zone not in set(suffixes(name)) or len(zone) <= len(above):
        return None
    hosts = list(dict.fromkeys(rdata.target(record.data) for record in cuts if lower(record.owner) == zone))
    known: dict[Name, list[str]] = {}
    for record in response.additional:
        known.setdefault(lower(record.owner), []).append(rdata.to_text(record.data))
    servers = [(address, _PORT) for host in hosts for address in known.get(host, ())]
    unknown = tuple(host for host in hosts if host not in known)
    return Referral(zone, tuple(servers[:MOST_SERVERS]), unknown[:MOST_SERVERS])


def addresses(response: Response) -> list[ServerAddress]:
    """The servers that an answer with addresses tells."""
    kinds = (rdata.A, rdata.AAAA)
    return [(rdata.to_text(record.data), _PORT) for record in response.answer if record.rtype in kinds]
