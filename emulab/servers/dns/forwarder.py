"""Asks the upstream servers in turn until one answers; one exchange for all who ask the same."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from emulab.errors import PeerError
from emulab.servers.dns import wire
from emulab.servers.dns.cache import Cache, CachedAnswer, CacheKey
from emulab.servers.dns.names import Name
from emulab.servers.dns.referrals import (
    ADDRESSES,
    MOST_DEEP,
    MOST_EXCHANGES,
    MOST_REFERRALS,
    MOST_SERVERS,
    Referral,
    addresses,
    leads_nowhere,
    referral,
    within,
)
from emulab.servers.dns.upstreams import ServerAddress, Upstreams
from emulab.servers.dns.wire import Response

AskServer = Callable[[ServerAddress, CacheKey, Upstreams, Sequence[str]], Awaitable[Response]]
Learn = Callable[[CacheKey, Response, float], CachedAnswer]

MAX_IN_FLIGHT = 2000
_AVOID = 5.0  # seconds that a server which failed goes to the end of the list
_MOST_FAILED = 1000  # servers that are known to have failed: referrals may name ever other ones
_TELLING = (wire.NOERROR, wire.NXDOMAIN)


class _Work:
    """What one question costs: whoever follows referrals asks MOST_EXCHANGES times for it, as those who write them
    could have it ask for ever."""

    def __init__(self, upstream: Upstreams, clients: list[str]) -> None:
        self.upstream = upstream
        self.clients = clients
        self._left = MOST_EXCHANGES

    def takes(self) -> bool:
        """Whether once more may be asked."""
        self._left -= 1
        return self._left >= 0


class Forwarder:
    """Upstream servers and the questions on their way to them.

    Servers that forward to each other in a ring can't multiply a question: it comes back to a server that
    has it in flight already, waits there, and all of them give up after their tries.
    """

    def __init__(self, ask: AskServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self.cache = Cache()  # of delegations, and of the addresses of servers
        self._failed: dict[ServerAddress, float] = {}
        self._in_flight: dict[
            tuple[Upstreams, CacheKey], tuple[asyncio.Task[CachedAnswer | None], list[str]]
        ] = {}
        self.exchanges = 0
        self.failures = 0

    def __len__(self) -> int:
        return len(self._in_flight)

    async def fetch(
        self, upstream: Upstreams, key: CacheKey, learn: Learn, client: str = ""
    ) -> CachedAnswer | None:
        """What `upstream` says, once for all who ask meanwhile; `learn` makes the entry of it.

        `client` is told of as one who waits for it. None when no server gave an answer or too much is in flight.
        """
        task, clients = self._in_flight.get((upstream, key), (None, []))
        if client:
            clients.append(client)
        if task is None:
            if len(self._in_flight) >= MAX_IN_FLIGHT:
                return None
            task = asyncio.get_running_loop().create_task(self._fetch(upstream, key, learn, clients))
            self._in_flight[upstream, key] = task, clients
            task.add_done_callback(lambda _: self._in_flight.pop((upstream, key), None))
        return await asyncio.shield(task)  # one who stops waiting doesn't take the answer from the others

    def cancel(self) -> None:
        """Gives up everything in flight."""
        for task, _ in list(self._in_flight.values()):
            task.cancel()

    async def _fetch(
        self, upstream: Upstreams, key: CacheKey, learn: Learn, clients: list[str]
    ) -> CachedAnswer | None:
        """What the servers say, or those to which they refer."""
        work = _Work(upstream, clients)
        response = await (self._led(work, key, ()) if upstream.follows else self._said(work, upstream, key))
        return learn(key, response, self._clock()) if response else None

    async def _led(self, work: _Work, key: CacheKey, sought: Sequence[Name]) -> Response | None:
        """What the servers say to which referrals lead, from the lowest delegation on that is known. `sought`: the
        servers that can be found once this is known."""
        kept, failed = self.cache.delegations.above(key.name, key.rtype, self._clock()), None
        if kept is not None:
            failed = await self._down(work, key, sought, kept)
            if failed is not None and failed.rcode in _TELLING:
                return failed
            self.cache.delegations.forget(kept.zone)  # its servers may be others by now
        response = await self._said(work, work.upstream, key, ())
        led = referral(response, key.name, ()) if response else None
        if led is None:
            return within(response, key.name, ()) if response else None
        self.cache.delegations.put(led, self._clock())
        return await self._down(work, key, sought, led, kept) or failed

    async def _down(
        self,
        work: _Work,
        key: CacheKey,
        sought: Sequence[Name],
        led: Referral,
        tried: Referral | None = None,
    ) -> Response | None:
        """What the servers say to which a delegation leads, and those below it; nobody asks those `tried` again."""
        for _ in range(MOST_REFERRALS):
            if tried is not None and led[:3] == tried[:3]:
                return None
            response: Response | None = None
            async with aclosing(self._servers(work, led, sought)) as groups:
                async for servers in groups:
                    asked = replace(work.upstream, servers=servers, shuffled=False)
                    said = await self._said(work, asked, key, led.zone)
                    response = said or response
                    if said is not None and said.rcode in _TELLING:
                        break
            below = referral(response, key.name, led.zone) if response else None
            if below is None:
                return within(response, key.name, led.zone) if response else None
            led = below
            self.cache.delegations.put(led, self._clock())
        return None

    async def _servers(
        self, work: _Work, led: Referral, sought: Sequence[Name]
    ) -> AsyncGenerator[tuple[ServerAddress, ...], None]:
        """The servers of a delegation: those whose addresses were told with it, then the others by and by."""
        if led.servers:
            yield led.servers
        for host in led.unknown:
            # Of its own zone a server that isn't told can't be found, nor one for whose sake this is being asked.
            if host[-len(led.zone) :] == led.zone or host in sought or len(sought) >= MOST_DEEP:
                continue
            for rtype in ADDRESSES:
                if found := await self._addresses(work, CacheKey(host, rtype, do=False), (*sought, host)):
                    yield tuple(found[:MOST_SERVERS])
                    break

    async def _addresses(self, work: _Work, key: CacheKey, sought: Sequence[Name]) -> list[ServerAddress]:
        """The addresses of a server that is told by name, which are kept as every answer is."""
        entry = self.cache.get(key, self._clock())
        if entry is None:
            response = await self._led(work, key, sought)
            if response is None:
                return []
            entry = self.cache.put(key, response, self._clock())
        return addresses(entry.answer(self._clock(), 0))

    async def _said(
        self, work: _Work, upstream: Upstreams, key: CacheKey, zone: Name | None = None
    ) -> Response | None:
        """Tries the servers. SERVFAIL and REFUSED count as answers only when no server has a better one, and that one
        doesn't have the `zone` which has been delegated to it is none at all."""
        last: Response | None = None
        told = False
        for _ in range(upstream.tries):
            servers = upstream.servers
            if upstream.shuffled:
                servers = tuple(random.sample(servers, len(servers)))
            for server in self._order(servers, self._clock()):
                if upstream.follows and not work.takes():
                    return last
                self.exchanges += 1
                try:
                    response = await self._ask(server, key, upstream, work.clients)
                except (TimeoutError, OSError, PeerError):
                    self._has_failed(server)
                    continue
                told = True
                if response.rcode not in _TELLING:
                    last = response
                elif zone is None or not leads_nowhere(response, key.name, zone):
                    self._failed.pop(server, None)
                    return response
            if told:
                break  # each server had its say or its time; asking again would bring the same
        return None if last is None or last.rcode in (wire.FORMERR, wire.NOTIMP) else last

    def _has_failed(self, server: ServerAddress) -> None:
        self.failures += 1
        if len(self._failed) >= _MOST_FAILED:
            self._failed.clear()
        self._failed[server] = self._clock()

    def _order(self, servers: Sequence[ServerAddress], now: float) -> list[ServerAddress]:
        """The servers as configured, those that failed lately behind the others."""
        never = -_AVOID
        return sorted(servers, key=lambda server: now - self._failed.get(server, never) < _AVOID)
