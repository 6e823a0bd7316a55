"""What a DNS server of ours answers from its zones, for tests."""

from __future__ import annotations

from typing import Any

from emulab.servers.dns import names, rdata
from emulab.servers.dns.settings import DnsSettings
from emulab.servers.dns.zone import LookupKind


def answers(settings: DnsSettings, name: str, rtype: str = "A") -> list[list[Any]] | str:
    """The records, as zone files have them; where there are none, what kind of nothing it is."""
    lowered = names.lower(names.from_text(name))
    zone = settings.zones.find(lowered, 0)
    assert zone is not None, name
    found = zone.lookup(lowered, rdata.type_number(rtype))
    if found.kind not in (LookupKind.ANSWER, LookupKind.ALIAS):
        return found.kind.name
    return [
        [names.to_text(r.owner), rdata.type_name(r.rtype), rdata.to_text(r.data), r.ttl]
        for r in found.rrset.records
    ]
