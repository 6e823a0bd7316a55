"""Delegations that were told of, until they are too old: whoever follows referrals goes on where it was led (RFC 1034
section 5.3.3, RFC 2308). Pure; time is an argument, in seconds of any one clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from emulab.servers.dns import rdata
from emulab.servers.dns.names import Name, suffixes
from emulab.servers.dns.referrals import Referral


class KeptDelegation(NamedTuple):
    """A delegation, and the instant from which it isn't followed any more."""

    referral: Referral
    expires: float


class Delegations:
    """A bounded map from zones to who serves them; the one unused for longest makes room.

    A delegation holds as long as its shortest record does. One that is kept isn't made younger by being told again
    below itself, so what a parent has taken back is gone then.
    """

    def __init__(self, min_ttl: int, max_ttl: int, size: int) -> None:
        self._min, self._max, self._size = min_ttl, max_ttl, size
        self._kept: OrderedDict[Name, KeptDelegation] = OrderedDict()

    def above(self, name: Name, rtype: int, now: float) -> Referral | None:
        """The lowest one at or above a name. Of a zone's own DS record its parent's servers know (RFC 4035 3.1.4.1)."""
        for zone in suffixes(name):
            kept = self._kept.get(zone)
            if kept is None or (rtype == rdata.DS and zone == name):
                continue
            if now < kept.expires:
                self._kept.move_to_end(zone)
                return kept.referral
            del self._kept[zone]
        return None

    def put(self, told: Referral, now: float) -> None:
        """Keeps a delegation for as long as it may be kept."""
        ttl = min(max(told.ttl, self._min), self._max)
        if ttl <= 0 or self._size <= 0:
            return
        self._kept[told.zone] = KeptDelegation(told, now + ttl)
        self._kept.move_to_end(told.zone)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def forget(self, zone: Name) -> None:
        """A delegation leads nowhere."""
        self._kept.pop(zone, None)

    def entries(self, name: Name | None, now: float) -> Iterator[KeptDelegation]:
        """What is kept of a zone, or of all."""
        for zone, kept in self._kept.items():
            if (name is None or zone == name) and now < kept.expires:
                yield kept

    def flush(self, name: Name | None, now: float) -> int:
        """Forgets those of a zone and of those below it, or all. Returns how many that were."""
        gone = [zone for zone in self._kept if name is None or zone[max(0, len(zone) - len(name)) :] == name]
        return sum(now < self._kept.pop(zone).expires for zone in gone)
