"""Zones of files (plugin/file of CoreDNS). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.servers.dns import names, rdata
from emulab.servers.dns.config import ZoneFile
from emulab.servers.dns.names import Name, lower, suffixes
from emulab.servers.dns.plugins.made import Below
from emulab.servers.dns.wire import ResourceRecord
from emulab.servers.dns.zone import Found, LookupKind, ServedZone


class ZoneFiles:
    """All of a server block. A zone whose file isn't there is one, too, of which nothing is known."""

    def __init__(self, files: Sequence[ZoneFile], through: Sequence[str]) -> None:
        """Raises UserError or ValueError."""
        self._zones: dict[Name, ServedZone | None] = {
            lower(names.from_text(one.origin)): ServedZone(one.origin, one.records) if one.records else None
            for one in files
        }
        self._through = Below(through)

    def __bool__(self) -> bool:
        return bool(self._zones)

    def knows(self, name: Name) -> bool:
        """Whether a lower-case name is in any of the zones."""
        return any(suffix in self._zones for suffix in suffixes(name))

    def zone(self, name: Name) -> ServedZone | None:
        """The zone with the longest origin at or above the name; None where its file isn't there, or there is none."""
        return next((self._zones[suffix] for suffix in suffixes(name) if suffix in self._zones), None)

    def lets_through(self, name: Name, found: Found) -> bool:
        """Whether others are asked for a name that isn't there."""
        return found.kind is LookupKind.NXDOMAIN and name in self._through


def servers_of(zone: ServedZone, name: Name, rtype: int) -> tuple[ResourceRecord, ...]:
    """The NS records that go with an answer of a zone, unless they are the answer."""
    own = zone.nodes[zone.origin].get(rdata.NS)
    return () if own is None or (name == zone.origin and rtype == rdata.NS) else own.records
