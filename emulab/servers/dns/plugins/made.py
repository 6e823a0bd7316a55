"""An answer that is made on the spot, in no zone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from emulab.servers.dns import names
from emulab.servers.dns.names import Name, lower, suffixes
from emulab.servers.dns.wire import NOERROR, ResourceRecord


class Made(NamedTuple):
    """What a plug-in that keeps no zone answers."""

    rcode: int = NOERROR
    answer: tuple[ResourceRecord, ...] = ()
    authority: tuple[ResourceRecord, ...] = ()
    additional: tuple[ResourceRecord, ...] = ()


class Below:
    """Whether names are at or below some zones."""

    def __init__(self, zones: Iterable[str]) -> None:
        """Raises ValueError."""
        self._zones = frozenset(lower(names.from_text(zone)) for zone in zones)

    def zone(self, name: Name) -> Name | None:
        """The longest of the zones that a lower-case name is in."""
        return next((suffix for suffix in suffixes(name) if suffix in self._zones), None)

    def __contains__(self, name: Name) -> bool:
        return self.zone(name) is not None
