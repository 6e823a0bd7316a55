"""Zones of files (plugin/file of CoreDNS). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.servers.dns import names, rdata
from emulab.servers.dns.config import ZoneFile
from emulab.servers.dns.names import Name, lower, suffixes
from emulab.servers.dns.plugins.made import Below
from emulab.servers.dns.wire import ResourceRecord
from emulab.servers.dns.zone import Found, LookupKind, ServedZone


class FileZone(ServedZone):
    """The zone of one file."""

    def __init__(self, given: ZoneFile) -> None:
        """Raises UserError."""
        super().__init__(given.origin, given.records)
        # With its own TTL, also where it says that something isn't there.
        self.soa = self.nodes[self.origin][rdata.SOA].records[0]

    def lookup(self, name: Name, rtype: int) -> Found:
        """As of any zone, but that nothing is of type ANY."""
        found = super().lookup(name, rtype)
        of_any = rtype == rdata.ANY and found.kind is LookupKind.ANSWER
        return Found(LookupKind.NODATA) if of_any else found

    def is_empty(self, name: Name) -> bool:
        """Whether a name is there for the sake of those below it alone. What every origin has counts for nothing."""
        node = self.nodes.get(name)
        return node is not None and not node.keys() - (_OF_ORIGINS if name == self.origin else ())


_OF_ORIGINS = frozenset({rdata.SOA, rdata.NS})
"""Types of the records that plugin/file has beside the tree of names (`Apex`)."""


class ZoneFiles:
    """All of a server block. A zone whose file isn't there is one, too, of which nothing is known."""

    def __init__(self, files: Sequence[ZoneFile], through: Sequence[str]) -> None:
        """Raises UserError or ValueError."""
        self._zones: dict[Name, FileZone | None] = {
            lower(names.from_text(one.origin)): FileZone(one) if one.records else None for one in files
        }
        self._through = Below(through)

    def __bool__(self) -> bool:
        return bool(self._zones)

    def knows(self, name: Name) -> bool:
        """Whether a lower-case name is in any of the zones."""
        return any(suffix in self._zones for suffix in suffixes(name))

    def zone(self, name: Name) -> FileZone | None:
        """The zone with the longest origin at or above the name; None where its file isn't there, or there is none."""
        return next((self._zones[suffix] for suffix in suffixes(name) if suffix in self._zones), None)

    def lets_through(self, zone: FileZone, name: Name, rtype: int) -> bool:
        """Whether others are asked for a name that isn't there, or has no records itself."""
        if name not in self._through:
            return False
        kind = zone.lookup(name, rtype).kind
        return kind is LookupKind.NXDOMAIN or (kind is LookupKind.NODATA and zone.is_empty(name))


def servers_of(zone: FileZone, name: Name, rtype: int) -> tuple[ResourceRecord, ...]:
    """The NS records that go with an answer of a zone, unless they are the answer."""
    own = zone.nodes[zone.origin].get(rdata.NS)
    return () if own is None or (name == zone.origin and rtype == rdata.NS) else own.records
