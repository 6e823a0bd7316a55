"""Asks the upstream servers in turn until one answers; one exchange for all who ask the same."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from emulab.errors import PeerError
from emulab.servers.dns import rdata, wire
from emulab.servers.dns.cache import CachedAnswer, CacheKey
from emulab.servers.dns.names import Name
from emulab.servers.dns.referrals import MOST_REFERRALS, Referral, addresses, referral
from emulab.servers.dns.upstreams import ServerAddress, Upstreams
from emulab.servers.dns.wire import Response

AskServer = Callable[[ServerAddress, CacheKey, Upstreams, Sequence[str]], Awaitable[Response]]
Learn = Callable[[CacheKey, Response, float], CachedAnswer]

MAX_IN_FLIGHT = 2000
_AVOID = 5.0  # seconds that a server which failed goes to the end of the list


class Forwarder:
    """Upstream servers and the questions on their way to them.

    Servers that forward to each other in a ring can't multiply a question: it comes back to a server that
    has it in flight already, waits there, and all of them give up after their tries.
    """

    def __init__(self, ask: AskServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
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
        response = await self._said(upstream, key, clients)
        zone: Name = ()
        for _ in range(MOST_REFERRALS if upstream.follows else 0):
            led = referral(response, key.name, zone) if response else None
            if led is None:
                break
            servers = led.servers or await self._found(upstream, led, clients)
            response = await self._said(replace(upstream, servers=servers, shuffled=False), key, clients)
            zone = led.zone
        if response is None or (zone and referral(response, key.name, zone[1:])):
            return None  # nobody, or one who knows no better (a lame delegation)
        return learn(key, response, self._clock())

    async def _found(
        self, upstream: Upstreams, led: Referral, clients: list[str]
    ) -> tuple[ServerAddress, ...]:
        """The addresses of servers of which the names alone were told."""
        for host in led.unknown:
            if host[-len(led.zone) :] == led.zone:
                continue  # only these servers could tell
            for rtype in (rdata.A, rdata.AAAA):
                response = await self._said(upstream, CacheKey(host, rtype, do=False), clients)
                if response is not None and (found := addresses(response)):
                    return tuple(found)
        return ()

    async def _said(self, upstream: Upstreams, key: CacheKey, clients: list[str]) -> Response | None:
        """Tries the servers. SERVFAIL and REFUSED count as answers only when no server has a better one."""
        last: Response | None = None
        for _ in range(upstream.tries):
            servers = upstream.servers
            if upstream.shuffled:
                servers = tuple(random.sample(servers, len(servers)))
            for server in self._order(servers, self._clock()):
                self.exchanges += 1
                try:
                    response = await self._ask(server, key, upstream, clients)
                except (TimeoutError, OSError, PeerError):
                    self.failures += 1
                    self._failed[server] = self._clock()
                    continue
                if response.rcode in (wire.NOERROR, wire.NXDOMAIN):
                    self._failed.pop(server, None)
                    return response
                last = response
            if last:
                break  # each server had its say or its time; asking again would bring the same
        return None if last is None or last.rcode in (wire.FORMERR, wire.NOTIMP) else last

    def _order(self, servers: Sequence[ServerAddress], now: float) -> list[ServerAddress]:
        """The servers as configured, those that failed lately behind the others."""
        never = -_AVOID
        return sorted(servers, key=lambda server: now - self._failed.get(server, never) < _AVOID)
