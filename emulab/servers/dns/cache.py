"""What upstream servers said, until it is too old (RFC 1035 section 7.4, negative answers of RFC 2308). Pure.

Time is an argument, in seconds of any one clock. A record's TTL counts down from when it was stored, and an
answer goes when its first record would reach 0. Where the limits say so it stays for longer, to be given when nobody
has a newer one (RFC 8767).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.servers.dns import rdata
from emulab.servers.dns.config import CacheLimits
from emulab.servers.dns.delegations import Delegations
from emulab.servers.dns.names import Name
from emulab.servers.dns.wire import NOERROR, NXDOMAIN, SERVFAIL, ResourceRecord, Response
from emulab.servers.dns.zone import Rotor, rotated

_UNBOUND = CacheLimits((1 << 31) - 1, 0, (1 << 31) - 1)


class CacheKey(NamedTuple):
    """What answers are kept by: the name in lower case, the type, and whether DNSSEC data was asked for.

    The class is always IN.
    """

    name: Name
    rtype: int
    do: bool


@dataclass(slots=True)
class CachedAnswer:
    """One answer. `tail` are the addresses asked for, which take turns; `lifetime` is in seconds."""

    rcode: int
    head: tuple[ResourceRecord, ...]
    tail: Rotor
    authority: tuple[ResourceRecord, ...]
    stored: float
    lifetime: int
    poisoned: bool = False

    @property
    def expires(self) -> float:
        """The instant from which the answer isn't used any more."""
        return self.stored + self.lifetime

    @property
    def positive(self) -> bool:
        """Whether it says that there is something."""
        return self.rcode == NOERROR and bool(self.head or self.tail.records)

    def answer(self, now: float, turn: int) -> tuple[ResourceRecord, ...]:
        """The answer section with its TTLs counted down, the addresses starting with number `turn`."""
        return self.aged(self.head + rotated(self.tail.records, turn), now)

    def aged(self, records: tuple[ResourceRecord, ...], now: float) -> tuple[ResourceRecord, ...]:
        """The records with what is left of their TTLs."""
        age = int(now - self.stored)
        if age <= 0:
            return records
        return tuple(ResourceRecord(r.owner, r.rtype, max(0, r.ttl - age), r.data) for r in records)

    def steady_until(self, now: float) -> float:
        """Until when the TTLs in an answer made at `now` stay right; in the past for what isn't cached."""
        return min(self.stored + int(now - self.stored) + 1, self.expires)


class Cache:
    """A bounded map from questions to answers; the one unused for longest makes room."""

    def __init__(self, limits: CacheLimits | None = None, alike: bool = False) -> None:
        """`alike`: all records of an answer have its shortest TTL, as CoreDNS gives them (plugin/cache, `toMsg`)."""
        self.limits = limits or CacheLimits()
        self._alike = alike
        self.delegations = Delegations(self.limits.min_ttl, self.limits.max_ttl, self.limits.size)
        self._entries: OrderedDict[CacheKey, CachedAnswer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: CacheKey, now: float) -> CachedAnswer | None:
        """The answer that still holds at `now`."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.expires:
            if now >= entry.expires + self.limits.stale:
                del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry

    def stale(self, key: CacheKey, now: float) -> CachedAnswer | None:
        """The answer that doesn't hold any more, but may be given where there is no other one."""
        entry = self._entries.get(key)
        if entry is None or not entry.expires <= now < entry.expires + self.limits.stale:
            return None

        def old(records: tuple[ResourceRecord, ...]) -> tuple[ResourceRecord, ...]:
            return tuple(r._replace(ttl=self.limits.stale_ttl) for r in records)

        entry.tail.next()
        tail = Rotor(old(rotated(entry.tail.records, entry.tail.turn)))
        return replace(
            entry, head=old(entry.head), tail=tail, authority=old(entry.authority), stored=now, lifetime=0
        )

    def entries(self, name: Name | None, now: float) -> Iterator[tuple[CacheKey, CachedAnswer]]:
        """What is kept of a name, or of all: what still holds, and what is kept beyond that."""
        for key, entry in self._entries.items():
            if (name is None or key.name == name) and now < entry.expires + self.limits.stale:
                yield key, entry

    def flush(self, name: Name | None, now: float) -> int:
        """Forgets what is kept of a name and of those below it, or everything. Returns how many answers and delegations
        that were."""
        gone = [k for k in self._entries if name is None or k.name[max(0, len(k.name) - len(name)) :] == name]
        delegations = self.delegations.flush(name, now)
        return delegations + sum(now < self._entries.pop(key).expires for key in gone)

    def poison(self, key: CacheKey, records: tuple[ResourceRecord, ...], now: float) -> CachedAnswer:
        """Keeps what nobody said, as if an answer had been forged; the bounds of TTLs are for it, too."""
        entry = self.put(key, Response(0, 0, NOERROR, None, records), now)
        entry.poisoned = True
        return entry

    def within(self, limits: CacheLimits | None) -> Callable[[CacheKey, Response, float], CachedAnswer]:
        """What makes entries with these bounds of TTLs."""
        return lambda key, response, now: self.put(key, response, now, limits)

    def put(
        self, key: CacheKey, response: Response, now: float, limits: CacheLimits | None = None
    ) -> CachedAnswer:
        """Makes an entry of an upstream answer; keeps it when it may be kept at all."""
        entry = self._made(key, response, now, limits or self.limits)
        if self._alike and entry.lifetime > 0:
            entry = _alike(entry)
        if entry.lifetime <= 0 and response.rcode in (NOERROR, NXDOMAIN):
            self._entries.pop(key, None)  # what was kept longer than it held is no answer any more
        if response.rcode == SERVFAIL and self._holds(key, now):
            return entry  # which is better than that nobody knows
        if entry.lifetime > 0 and self.limits.size > 0:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self.limits.size:
                self._entries.popitem(last=False)
        return entry

    def _holds(self, key: CacheKey, now: float) -> bool:
        """Whether there is an answer, if only one for the case that there is no other."""
        entry = self._entries.get(key)
        return entry is not None and entry.rcode != SERVFAIL and now < entry.expires + self.limits.stale

    def passed_on(self, key: CacheKey, response: Response, now: float) -> CachedAnswer:
        """The entry of an upstream answer that no cache has a say in."""
        return self._made(key, response, now, _UNBOUND)

    def _made(self, key: CacheKey, response: Response, now: float, limits: CacheLimits) -> CachedAnswer:
        answer = tuple(
            r._replace(ttl=min(max(r.ttl, limits.min_ttl), limits.max_ttl)) for r in response.answer
        )
        authority: tuple[ResourceRecord, ...] = ()
        lifetimes = [r.ttl for r in answer]
        if response.rcode not in (NOERROR, NXDOMAIN):
            lifetimes = [limits.failure_ttl if response.rcode == SERVFAIL else 0]
        elif response.rcode == NXDOMAIN or not any(answers_question(r, key.rtype) for r in answer):
            authority = tuple(_negative(r, limits) for r in response.authority)
            soa = [r.ttl for r in authority if r.rtype == rdata.SOA]
            if soa or not answer:
                lifetimes.append(min(soa, default=0))  # without SOA not cached (RFC 2308 section 5)
        rotates = key.rtype in (rdata.A, rdata.AAAA)
        tail = tuple(r for r in answer if rotates and r.rtype == key.rtype)
        head = tuple(r for r in answer if not rotates or r.rtype != key.rtype)
        return CachedAnswer(response.rcode, head, Rotor(tail), authority, now, min(lifetimes, default=0))


def _alike(entry: CachedAnswer) -> CachedAnswer:
    """With the shortest TTL for all records."""

    def same(records: tuple[ResourceRecord, ...]) -> tuple[ResourceRecord, ...]:
        return tuple(r._replace(ttl=entry.lifetime) for r in records)

    tail = Rotor(same(entry.tail.records))
    return replace(entry, head=same(entry.head), tail=tail, authority=same(entry.authority))


def _negative(record: ResourceRecord, limits: CacheLimits) -> ResourceRecord:
    """The SOA of a negative answer with the TTL it gives that answer; other records unchanged."""
    if record.rtype != rdata.SOA:
        return record
    ttl = max(min(record.ttl, rdata.minimum(record.data)), limits.negative_min)
    return record._replace(ttl=min(ttl, limits.negative_ttl))


Sections = tuple[tuple[ResourceRecord, ...], ...]


def capped(sections: Sections, limits: CacheLimits, *, denial: bool) -> Sections:
    """An answer as CoreDNS' cache passes it on: all of it with the shortest TTL, within the cache's bounds, as it will
    be given once more (plugin/cache, `WriteMsg`)."""
    lives = [
        min(r.ttl, rdata.minimum(r.data)) if denial and r.rtype == rdata.SOA else r.ttl
        for section in sections
        for r in section
    ]
    if not lives:
        return sections
    least, most = (limits.negative_min, limits.negative_ttl) if denial else (limits.min_ttl, limits.max_ttl)
    ttl = min(max(min(lives), least), most)
    return tuple(tuple(r._replace(ttl=ttl) for r in section) for section in sections)


def answers_question(record: ResourceRecord, rtype: int) -> bool:
    """Whether a record is of the type asked for."""
    return rtype in (record.rtype, rdata.ANY)
