"""Leads one question through zones and cache to its answer. Sans-I/O: time is an argument.

    step = engine.resolve(query, view, now)
    while isinstance(step, Forward):        # an upstream server must be asked for step.key
        entry = cache.put(step.key, response, now)      # or None when nobody answered
        step = engine.resume(step, entry, now)
    # step is a Solved

Rules:

* The longest matching zone in the client's view answers; outside all zones a server with upstream servers
  forwards, one without refuses.
* Aliases are followed through zones, cache and upstream servers alike, at most `MAX_HOPS` times and never
  to a name twice; a loop is SERVFAIL.
* The AA bit speaks for the name that was asked, the first of a chain (RFC 1035 section 4.1.1); the rcode
  for the last (RFC 6604).
"""

from __future__ import annotations

import math
from dataclasses import replace

from emulab.dataclass import dataclass, field
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.cache import Cache, CachedAnswer, CacheKey, answers_question, capped
from emulab.servers.dns.config import CacheLimits
from emulab.servers.dns.names import Name, lower
from emulab.servers.dns.plugins import access
from emulab.servers.dns.plugins.blocks import Block, Blocks, renamed
from emulab.servers.dns.plugins.files import servers_of
from emulab.servers.dns.plugins.made import Made
from emulab.servers.dns.plugins.rewriting import Rewriting
from emulab.servers.dns.plugins.searching import PodDirectory
from emulab.servers.dns.upstreams import Upstreams
from emulab.servers.dns.wire import Query, Reply, ResourceRecord
from emulab.servers.dns.zone import Authority, LookupKind, Rotor, Zones, rotated

MAX_HOPS = 11
"""As unbound (`max-query-restarts`) and CoreDNS have it."""


@dataclass(slots=True)
class Walk:
    """How far one question has come: the chain of aliases so far, and the name to look up next."""

    query: Query
    view: int
    name: Name
    chain: list[ResourceRecord] = field(default_factory=list)
    seen: set[Name] = field(default_factory=set)
    authoritative: bool = False
    aliased: bool = False  # by an alias that is an answer by itself
    cache: str = ""  # "hit", "miss" or "stale" once upstream data has a part in the answer
    until: float = math.inf
    refresh: list[Forward] = field(default_factory=list)
    client: str = ""  # its address
    block: Block | None = None
    rewriting: Rewriting | None = None
    first: Name = ()  # what was looked up before search domains were gone through
    search: list[Name] = field(default_factory=list)  # what is still to be looked up in its place
    refused: Solved | None = None  # that the first one isn't there

    def follow(self, target: Name) -> bool:
        """Goes on to an alias's target; False when that is a loop or one hop too many."""
        self.seen.add(self.name)
        self.name = target
        return self.name not in self.seen and len(self.seen) <= MAX_HOPS


@dataclass(slots=True)
class Solved:
    """A finished answer.

    `turn` of `turns` says which rotation of the addresses it holds; the answer may be given again until
    `until` (infinity: until the next configuration; in the past: not at all), and before `expires` with TTLs that are
    lessened by the seconds since then. What was too old is in `refresh`, for which upstream should be asked now.
    """

    reply: Reply
    cache: str
    until: float
    turn: int = 0
    turns: int = 1
    expires: float = 0.0
    searched: bool = False  # whether it was found along search domains
    refresh: list[Forward] = field(default_factory=list)
    dropped: bool = False  # whether none is sent


@dataclass(slots=True)
class Forward:
    """Upstream must be asked for `key` before `walk` can go on: `upstream`, or that of the settings."""

    key: CacheKey
    walk: Walk
    upstream: Upstreams | None = None
    keeps: bool = True
    limits: CacheLimits | None = None


class Engine:
    """Zones, cache and whether there is an upstream to forward to; or blocks, of which each says so."""

    def __init__(
        self,
        zones: Zones,
        cache: Cache,
        *,
        forwards: bool,
        passes_on: bool = False,
        blocks: Blocks | None = None,
        pods: PodDirectory | None = None,
    ) -> None:
        self.pods = pods
        self.zones = zones
        self.cache = cache
        self.forwards = forwards
        self._passes_on = passes_on  # whatever a client asks for, as CoreDNS' forward does
        self.blocks = blocks or Blocks()

    def resolve(self, query: Query, view: int, now: float, client: str = "") -> Solved | Forward:
        """The first step for a question that a client asked, from that address."""
        if query.version:
            return _error(wire.BADVERS)
        if query.rclass != wire.CLASS_IN or query.rtype in (rdata.AXFR, rdata.IXFR):
            return _error(wire.REFUSED)
        walk = Walk(query, view, query.name, client=client)
        if self.blocks:
            walk.block = self.blocks.find(query.name)
            if walk.block is None:
                return _error(wire.REFUSED)
            if (made := walk.block.at_once(query.name, query.rtype)) is not None:
                return Solved(Reply(made.rcode, False, made.answer, made.authority), "", math.inf)
            try:
                walk.rewriting = walk.block.rewritten(query.name, query.rtype)
            except ValueError:  # what a rule makes of the name is no name
                return _error(wire.SERVFAIL)
            if walk.rewriting:
                walk.name = walk.rewriting.name
                if walk.rewriting.rtype != query.rtype:
                    walk.query = replace(query, rtype=walk.rewriting.rtype)
                if walk.rewriting.ttls:
                    walk.until = -math.inf  # what is kept counts down
            if walk.block.access:
                walk.until = -math.inf  # another client may have another answer
                if (refused := _barred(walk)) is not None:
                    return _reverted(walk, refused)
            if walk.block.autopath:
                walk.first, *walk.search = walk.block.autopath.names(walk.name, client, self.pods) or (
                    walk.name,
                )
        return _reverted(walk, self._along(walk, self._step(walk, now), now))

    def resume(self, forward: Forward, entry: CachedAnswer | None, now: float) -> Solved | Forward:
        """Goes on with what upstream said; None when no upstream server answered."""
        forward.walk.cache = "miss"
        if entry is None or entry.rcode not in (wire.NOERROR, wire.NXDOMAIN):
            old = self.cache.stale(forward.key, now)
            if old is not None:
                forward.walk.cache, entry = "stale", old
        walk = forward.walk
        if entry is None:
            walk.until = -math.inf
            failed = self._solved(walk) if walk.aliased else _error(wire.SERVFAIL, "miss")
            return _reverted(walk, failed)
        return _reverted(
            walk, self._along(walk, self._absorb(walk, entry, now) or self._step(walk, now), now)
        )

    def _along(self, walk: Walk, done: Solved | Forward, now: float) -> Solved | Forward:
        """Goes on with the next name of a search, as long as there is none of the one before."""
        if not (walk.block and walk.block.autopath):
            return done
        while isinstance(done, Solved) and done.reply.rcode == wire.NXDOMAIN:
            if walk.block.autopath.of_pods:
                done.until = -math.inf  # another client, with another Pod, has another search
            walk.refused = walk.refused or done
            if not walk.search:
                return walk.refused
            walk.name = walk.search.pop(0)
            walk.chain, walk.seen, walk.authoritative = [], set(), False
            done = _barred(walk) or self._step(walk, now)
            if isinstance(done, Solved) and done.dropped:
                done = _error(wire.SERVFAIL)  # CoreDNS stumbles over having nothing there
        return done

    def _step(self, walk: Walk, now: float) -> Solved | Forward:
        """Follows the chain until it ends, or until upstream must be asked."""
        done: Solved | Forward | None = None
        while done is None:
            if self.blocks and walk.chain:  # the target of an alias may be another block's
                walk.block = self.blocks.find(walk.name)
            made = walk.block.answer(walk.name, walk.query.rtype) if walk.block else None
            if made is not None:
                done = self._made(walk, made)
                continue
            known = not self.blocks or (walk.block is not None and walk.block.cluster)
            zone = self.zones.find(walk.name, walk.view) if known else None
            done = self._inside(walk, zone, now) if zone else self._beyond(walk, now)
        return done

    def _beyond(self, walk: Walk, now: float) -> Solved | Forward | None:
        """A name that isn't the cluster's: of a zone's file, or from outside; None when an alias leads on."""
        files, name, rtype = walk.block.files if walk.block else None, walk.name, walk.query.rtype
        if not files or not files.knows(name):
            return self._outside(walk, now)
        zone = files.zone(name)
        if zone is None:
            return _error(wire.SERVFAIL)
        if files.lets_through(zone, name, rtype):
            return self._outside(walk, now)
        return self._inside(walk, zone, now, servers_of(zone, name, rtype))

    def _made(self, walk: Walk, made: Made) -> Solved | None:
        """What a block makes without a zone; None when an alias leads on."""
        walk.authoritative |= not walk.chain and made.rcode != wire.SERVFAIL
        walk.chain += made.answer
        rtype = walk.query.rtype
        target = _last_target(walk.name, made.answer)
        follows = rtype in (rdata.A, rdata.AAAA) and made.rcode == wire.NOERROR
        if follows and target != walk.name and not any(answers_question(r, rtype) for r in made.answer):
            walk.aliased = True  # of its target plugin/template takes the records alone
            return None if walk.follow(target) else self._solved(walk)
        return self._solved(walk, made.rcode, authority=made.authority, additional=made.additional)

    def _inside(
        self, walk: Walk, zone: Authority, now: float, servers: tuple[ResourceRecord, ...] = ()
    ) -> Solved | Forward | None:
        """One look into a zone; None when an alias leads on. Its `servers` go with an answer."""
        kind, rrset, drawn, alone = zone.lookup(walk.name, walk.query.rtype)
        walk.aliased |= alone
        if drawn:
            walk.until = -math.inf
        if kind is LookupKind.ELSEWHERE:
            return self._beyond(walk, now)
        if kind is LookupKind.REFERRAL:
            return self._solved(walk, authority=rrset.records, hosts=rrset.records)
        walk.authoritative |= not walk.chain
        if kind is LookupKind.ANSWER:
            return self._solved(walk, rrset=rrset, authority=servers, hosts=rrset.records)
        if kind is LookupKind.ALIAS:
            alias = rrset.records[0]._replace(owner=walk.name)
            walk.chain.append(alias)
            return None if walk.follow(rdata.target(alias.data)) else _error(wire.SERVFAIL)
        rcode = wire.NXDOMAIN if kind is LookupKind.NXDOMAIN else wire.NOERROR
        return self._solved(walk, rcode, authority=(zone.soa,))

    def _outside(self, walk: Walk, now: float) -> Solved | Forward | None:
        """A name in no zone: from the cache, from upstream, or not at all; None to go on.

        Without RD a client asks for what is known here and nothing more (RFC 1034 section 4.3.1), but for CoreDNS.
        """
        key = CacheKey(walk.name, walk.query.rtype, walk.query.do)
        block = walk.block
        upstream = block.upstream(walk.name) if block else None
        forwards = upstream is not None if self.blocks else self.forwards
        keeps = block.caches(walk.name) if block else not self.blocks
        entry = self.cache.get(key, now) if forwards and keeps else None
        if entry:
            walk.cache = walk.cache or "hit"
            return self._absorb(walk, entry, now)
        forward = Forward(key, walk, upstream, keeps, block.limits if block else None)
        if forwards and keeps and self.cache.limits.stale_first and (old := self.cache.stale(key, now)):
            walk.cache = "stale"
            walk.refresh.append(forward)
            return self._absorb(walk, old, now)
        if forwards and (self._passes_on or walk.query.flags & wire.RD):
            return forward
        # CoreDNS says SERVFAIL where its plug-ins have come to an end.
        return self._solved(walk) if walk.chain else _error(wire.SERVFAIL if block else wire.REFUSED)

    def _absorb(self, walk: Walk, entry: CachedAnswer, now: float) -> Solved | None:
        """Takes in an upstream answer; None when it ends in an alias whose target it doesn't tell."""
        alone = not walk.chain and walk.until == math.inf and walk.cache != "stale"
        walk.until = min(walk.until, entry.steady_until(now))
        turn = entry.tail.next()
        records = entry.answer(now, turn)
        rtype = walk.query.rtype
        told = any(answers_question(r, rtype) for r in records) or any(
            r.rtype == rdata.SOA for r in entry.authority
        )
        if not told and entry.rcode == wire.NOERROR:
            target = _last_target(walk.name, records)
            if target != walk.name:
                walk.chain += records
                return None if walk.follow(target) else _error(wire.SERVFAIL, walk.cache)
        walk.chain += records
        solved = self._solved(walk, entry.rcode, authority=entry.aged(entry.authority, now))
        solved.turn, solved.turns = turn, len(entry.tail.records) or 1
        if alone and solved.until > now:
            solved.expires = entry.expires
        return solved

    def _solved(
        self,
        walk: Walk,
        rcode: int = wire.NOERROR,
        *,
        rrset: Rotor | None = None,
        authority: tuple[ResourceRecord, ...] = (),
        hosts: tuple[ResourceRecord, ...] = (),
        additional: tuple[ResourceRecord, ...] = (),
    ) -> Solved:
        turn, turns, answer = 0, 1, tuple(walk.chain)
        if walk.aliased:  # of what others say CoreDNS takes the records alone (plugin/backend_lookup.go)
            rcode, authority = wire.NOERROR, ()
        if rrset:
            if walk.query.rtype in (rdata.A, rdata.AAAA):
                turn, turns = rrset.next(), len(rrset.records)
            # owned by the name that was asked, also where a wildcard matched it
            answer += tuple(r._replace(owner=walk.name) for r in rotated(rrset.records, turn))
        if walk.refused is not None:
            walk.until = -math.inf
            answer = _found_along(walk.first, answer)
        more = (*self._addresses(walk, hosts), *additional)
        limits = walk.block.limits if walk.block and walk.block.caches(walk.name) else None
        # What others said has been within them since it was kept, but not an alias of ours that leads there.
        if limits is not None and (not walk.cache or walk.authoritative):
            denial = rcode == wire.NXDOMAIN or not answer
            answer, authority, more = capped((answer, authority, more), limits, denial=denial)
        if walk.rewriting:
            answer, authority, more = (renamed(one, walk.rewriting) for one in (answer, authority, more))
        if walk.block and walk.block.minimal and answer and rcode == wire.NOERROR:
            authority = more = ()
        reply = Reply(rcode, walk.authoritative, answer, authority, more)
        searched = walk.refused is not None and rcode != wire.NXDOMAIN
        return Solved(reply, walk.cache, walk.until, turn, turns, searched=searched, refresh=walk.refresh)

    def _addresses(self, walk: Walk, records: tuple[ResourceRecord, ...]) -> tuple[ResourceRecord, ...]:
        """The addresses of the hosts that SRV, MX and NS records name, as far as zones in view have them."""
        named = (r for r in records if r.rtype in (rdata.SRV, rdata.MX, rdata.NS))
        hosts = dict.fromkeys(rdata.target(r.data) for r in named)
        files = walk.block.files if walk.block else None
        homes: list[tuple[Name, Authority | None]] = [
            (host, self.zones.find(host, walk.view) or (files.zone(host) if files else None))
            for host in hosts
        ]
        if any(zone is not None and zone.draws for _, zone in homes):
            walk.until = -math.inf
        return tuple(record for host, zone in homes if zone for record in zone.addresses(host))


def _found_along(first: Name, answer: tuple[ResourceRecord, ...]) -> tuple[ResourceRecord, ...]:
    """An answer to another name than was asked for, behind an alias that leads to it (plugin/autopath/cname.go)."""
    other = next((record for record in answer if record.owner != first), None)
    if other is None:
        return answer
    data = rdata.from_text(rdata.CNAME, names.to_text(other.owner))
    return (ResourceRecord(first, rdata.CNAME, other.ttl, data), *answer)


def _reverted(walk: Walk, done: Solved | Forward) -> Solved | Forward:
    """With the response code that a rewriting makes of it."""
    if walk.rewriting and walk.rewriting.rcodes and isinstance(done, Solved):
        done.reply.rcode = walk.rewriting.rcode(done.reply.rcode)
    return done


def _barred(walk: Walk) -> Solved | None:
    """What a client gets that may not ask; None for others."""
    assert walk.block is not None
    action = walk.block.access.action(walk.name, walk.query.rtype, walk.client)
    if action == access.ALLOW:
        return None
    refused = _error(wire.REFUSED if action == access.BLOCK else wire.NOERROR)
    refused.reply.error = access.BLOCKED if action == access.BLOCK else access.FILTERED
    refused.dropped = action == access.DROP
    return refused


def _error(rcode: int, cache: str = "") -> Solved:
    return Solved(Reply(rcode), cache, -math.inf)


def _last_target(name: Name, records: tuple[ResourceRecord, ...]) -> Name:
    """Where the CNAME records of an answer lead from `name`; `name` itself when nowhere."""
    aliases = {lower(r.owner): rdata.target(r.data) for r in records if r.rtype == rdata.CNAME}
    for _ in range(len(aliases)):
        name = aliases.get(name, name)
    return name
