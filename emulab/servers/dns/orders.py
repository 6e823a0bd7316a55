"""What an operator asks of a server's cache, beyond its configuration: to show it, to empty it, to spoil it. Pure.

    {"do": "dump", ["name"]}                      → {"entries": [...]}
    {"do": "flush", ["name"]}                     → {"flushed": number}; of the names below it, too
    {"do": "poison", "name", "address", ["ttl"]}  → {"ttl": seconds for which it is kept}

An entry is name, type, rcode, ttl (seconds for which it still holds; 0 for one that is kept beyond that), answers, as
the records tell them, poisoned, and delegation: of one it is whose servers are asked for names below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from emulab.errors import UserError
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.cache import Cache, CachedAnswer, CacheKey
from emulab.servers.dns.delegations import KeptDelegation
from emulab.servers.dns.names import Name, lower
from emulab.servers.dns.wire import ResourceRecord

POISON_TTL = 3600
"""Seconds that a forged record asks for where nothing is said."""
_MOST = 10_000  # entries that are shown


def carry_out(order: Mapping[str, Any], cache: Cache, now: float) -> dict[str, Any]:
    """Does what is asked. Raises UserError."""
    name = _name(order["name"]) if order.get("name") else None
    match order["do"]:
        case "dump":
            found = [_told(key, entry, now) for key, entry in cache.entries(name, now)]
            found += [_delegation(kept, now) for kept in cache.delegations.entries(name, now)]
            return {"entries": sorted(found, key=lambda one: (one["name"], one["type"]))[:_MOST]}
        case "flush":
            return {"flushed": cache.flush(name, now)}
        case "poison":
            if name is None:
                raise UserError("DNS: poisoning needs a name")
            return {"ttl": _poison(cache, name, str(order["address"]), order.get("ttl"), now)}
    raise UserError(f"DNS: no order {order['do']!r}")


def _poison(cache: Cache, name: Name, address: str, ttl: int | None, now: float) -> int:
    rtype = rdata.AAAA if ":" in address else rdata.A
    try:
        data = rdata.from_text(rtype, address)
    except ValueError as error:
        raise UserError(f"DNS: {error}") from None
    record = ResourceRecord(name, rtype, POISON_TTL if ttl is None else ttl, data)
    # Both for who asks for signatures and who doesn't.
    kept = [cache.poison(CacheKey(name, rtype, do), (record,), now) for do in (False, True)]
    return kept[0].lifetime


def _name(text: str) -> Name:
    try:
        return lower(names.from_text(text))
    except (ValueError, UnicodeError) as error:
        raise UserError(f"{text!r} is no DNS name: {error}") from None


def _told(key: CacheKey, entry: CachedAnswer, now: float) -> dict[str, Any]:
    records = entry.head + entry.tail.records
    return {
        "name": names.to_text(key.name),
        "type": rdata.type_name(key.rtype),
        "rcode": wire.rcode_name(entry.rcode),
        "ttl": max(0, math.ceil(entry.expires - now)),
        "answers": [f"{rdata.type_name(r.rtype)} {rdata.to_text(r.data)}" for r in records],
        "signed": key.do,
        "poisoned": entry.poisoned,
        "delegation": False,
    }


def _delegation(kept: KeptDelegation, now: float) -> dict[str, Any]:
    return {
        "name": names.to_text(kept.referral.zone),
        "type": "NS",
        "rcode": wire.rcode_name(wire.NOERROR),
        "ttl": math.ceil(kept.expires - now),
        "answers": [*kept.referral.told],
        "signed": False,
        "poisoned": False,
        "delegation": True,
    }
