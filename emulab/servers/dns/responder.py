"""One query's bytes in, the answer's bytes out: at once where possible, later where upstream is asked."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from emulab.dataclass import dataclass
from emulab.servers.base import Emit, socket_name
from emulab.servers.dns import client, rdata, wire
from emulab.servers.dns.cache import Cache, CacheKey
from emulab.servers.dns.engine import Engine, Forward, Solved
from emulab.servers.dns.forwarder import Forwarder
from emulab.servers.dns.hot import MAX_TURNS, Hot, HotAnswers
from emulab.servers.dns.metrics import CountedQuery, DnsMetrics, type_word
from emulab.servers.dns.orders import carry_out
from emulab.servers.dns.plugins.logs import Exchanged, error_line, line
from emulab.servers.dns.plugins.reloading import Reload
from emulab.servers.dns.reporter import Host, Reporter, Told
from emulab.servers.dns.settings import DnsSettings
from emulab.servers.dns.upstreams import ServerAddress, Upstreams
from emulab.servers.dns.wire import MalformedQuery, Query, Response
from emulab.servers.journal import Journal

Respond = Callable[[bytes], None]

MAX_WAITING = 4000  # queries that wait for upstream; more are answered with SERVFAIL
_MOST_GIVEN = 4096  # answers that wait to be counted
MAX_WAITING_OF_CLIENT = 1000  # of which one address may have so many, so that others have room beside it


@dataclass(slots=True)
class _Asked:
    """A query on its way to its answer: where that will be kept, and what was told of the query."""

    query: Query
    packet: bytes
    stream: bool
    table: dict[bytes, Hot]
    recursion: bool
    told: Told | None
    host: Host
    since: float


class Responder:
    """Engine, forwarder, kept answers and counters of one server."""

    def __init__(self, emit: Emit, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._emit = emit
        self._reporter = Reporter(emit)
        self._forwarder = Forwarder(self._ask, clock)
        self._waiting: set[asyncio.Task[None]] = set()
        self._waiting_of: Counter[str] = Counter()
        self._metrics = DnsMetrics()
        self.journal = Journal(single=True)
        self.worked = 0  # queries for which no finished answer was there
        self._rcodes = dict.fromkeys(range(6), 0)
        self._queries = self._dropped = self._hits = self._misses = self._stale = 0
        self._cache = Cache()
        self._given: deque[Hot] = deque()  # finished answers whose number isn't added up yet
        self._use(DnsSettings())

    def configure(self, settings: DnsSettings) -> None:
        """Takes new settings at once. Upstream answers are kept if the same servers would give them again."""
        before = self._settings
        if settings.limits != before.limits or _asked(settings) != _asked(before):
            self._cache = Cache(settings.limits, alike=settings.is_coredns)
        self._use(settings)
        self._reporter.allow(settings.events)

    def _use(self, settings: DnsSettings) -> None:
        # Queries that wait for upstream end with the engine and the table that they began with: nothing
        # of the old configuration gets into the new tables.
        self._settings = settings
        self._forwarder.cache = self._cache
        self._zones = settings.zones
        forwards = bool(settings.upstream.servers)
        self._engine = Engine(
            settings.zones,
            self._cache,
            forwards=forwards,
            passes_on=settings.is_coredns,
            blocks=settings.blocks,
            pods=settings.pods,
        )
        self.hot = HotAnswers(self._zones.view, self._zones.restricted)
        self._logs = any(block.logs or block.errors for block in settings.given)
        self._is_coredns = settings.is_coredns

    def answer(self, packet: bytes, host: Host, stream: bool, respond: Respond) -> bytes | None:
        """The answer to a query from `host` over TCP (`stream`) or UDP; empty when none is due.

        None when upstream must be asked first: `respond` is called with the answer then.
        """
        view = self._zones.view(host[0])
        table = self.hot.table(view, stream, len(host) > 2)
        hot = table.get(packet[2:])
        if hot is not None and not self._logs:
            found = hot.take(self.clock())
            if found is not None:
                if not hot.noted and self.note(hot):
                    self.add_up()
                if self._emit.wanted:
                    told = self._reporter.query(packet, hot.query, host, stream)
                    self._reporter.answer(told, found, hot.cache)
                return packet[:2] + found
        self.worked += 1
        try:
            query = wire.parse_query(packet)
        except MalformedQuery as error:
            if error.reply is None:
                self._dropped += 1
                return b""
            self._count(error.reply[3] & 0xF, "")
            return error.reply
        told = self._reporter.query(packet, query, host, stream)
        now = self.clock()
        asked = _Asked(query, packet, stream, table, self._settings.recursion, told, host, now)
        step = self._engine.resolve(query, view, now, host[0])
        if isinstance(step, Forward):
            if len(self._waiting) < MAX_WAITING and self._waiting_of[host[0]] < MAX_WAITING_OF_CLIENT:
                self._wait(host[0], self._forward(asked, step, respond))
                return None
            step = self._engine.resume(step, None, self.clock())
        assert isinstance(step, Solved)
        if step.dropped:
            self._dropped += 1
            return b""
        return self._finish(asked, step)

    @property
    def plain(self) -> bool:
        """Whether finished answers can be given without a word: nobody records, and no line is due of them."""
        return not (self._logs or self._emit.wanted)

    def note(self, hot: Hot) -> bool:
        """A finished answer has been given that isn't noted. Whether they should be added up.

        Those that are forgotten meanwhile, as a name that has changed, are kept until then. Threads may say so, too:
        two of them may note one answer twice, of which there is nothing left to add then.
        """
        hot.noted = True
        self._given.append(hot)
        return len(self._given) >= _MOST_GIVEN

    def add_up(self) -> None:
        """Counts what has been given. The loop alone does so."""
        for _ in range(len(self._given)):
            hot = self._given.popleft()
            hot.noted = False  # before its number is read: what is given from here on is noted anew
            times, hot.given = hot.given, 0
            self._queries += times
            self._rcodes[hot.rcode] = self._rcodes.get(hot.rcode, 0) + times
            if hot.cache:
                self._hits += times
            if hot.served is not None:
                self._metrics.add(hot.served, hot.inet6, hot.size, 0.0, times)

    def _wait(self, client: str, work: Coroutine[Any, Any, None]) -> None:
        def done(task: asyncio.Task[None]) -> None:
            self._waiting.discard(task)
            self._waiting_of[client] -= 1
            if not self._waiting_of[client]:
                del self._waiting_of[client]

        task = asyncio.get_running_loop().create_task(work)
        self._waiting.add(task)
        self._waiting_of[client] += 1
        task.add_done_callback(done)

    async def _forward(self, asked: _Asked, step: Solved | Forward, respond: Respond) -> None:
        """Asks upstream as often as the chain of aliases needs it, then answers."""
        engine, upstream = self._engine, self._settings.upstream
        who = asked.told["client"] if asked.told else ""
        while isinstance(step, Forward):
            learn = engine.cache.within(step.limits) if step.keeps else engine.cache.passed_on
            entry = await self._forwarder.fetch(step.upstream or upstream, step.key, learn, who)
            step = engine.resume(step, entry, self.clock())
        respond(self._finish(asked, step))

    async def _ask(
        self, server: ServerAddress, key: CacheKey, upstream: Upstreams, clients: Sequence[str]
    ) -> Response:
        since = self.clock()
        response = await client.ask_server(
            *(server, key, upstream.timeout, clients),
            reporter=self._reporter,
            mixed_case=upstream.mixed_case,
            stream=upstream.stream,
        )
        if self._settings.pages:
            self._metrics.asked(socket_name(server), response.rcode, self.clock() - since)
        return response

    async def _refresh(self, forward: Forward) -> None:
        """Asks upstream for what was given though it was too old."""
        upstream = forward.upstream or self._settings.upstream
        await self._forwarder.fetch(upstream, forward.key, self._cache.within(forward.limits))

    def _finish(self, asked: _Asked, solved: Solved) -> bytes:
        """Packs the answer, counts and tells it, and keeps it for those who ask the same."""
        query, reply = asked.query, solved.reply
        size, recursion, echoes = wire.UDP_LIMIT, asked.recursion, self._is_coredns
        if echoes:  # which takes the client at its word
            size = self._engine.blocks.limit(query.name, query.size)
            # Recursion is what upstream says of itself, and what is cached is given as if it were its own (item.go).
            recursion = recursion and bool(solved.cache) and not reply.authoritative
            reply.authoritative |= solved.cache in ("hit", "stale")
        limit = wire.TCP_LIMIT if asked.stream else min(query.size, size, wire.MOST_BY_UDP)
        packed = wire.pack_reply(query, reply, limit, recursion, size, echoes)
        self._count(reply.rcode, solved.cache)
        self._metrics.searched += solved.searched
        self._reporter.answer(asked.told, packed[2:], solved.cache)
        served = self._served(asked, solved) if self._settings.pages else None
        if served is not None:
            self._metrics.add(served, len(asked.host) > 2, len(packed), round(self.clock() - asked.since, 4))
        if self._logs:
            self._log(asked, solved, packed)
        for forward in solved.refresh:
            if len(self._waiting) < MAX_WAITING:
                self._wait("", self._refresh(forward))
        # What hardly comes twice isn't kept: options are mostly cookies, odd case is a resolver's nonce.
        ordinary = not query.options and query.asked == query.name
        if ordinary and solved.until > self.clock() and solved.turns <= MAX_TURNS:
            hit = "hit" if solved.cache else ""
            if served is not None and hit:
                served = served._replace(plugin="cache")
            hot = Hot(query, reply.rcode, hit, solved.until, solved.turns, served, solved.expires)
            hot.inet6 = len(asked.host) > 2
            self.hot.put(asked.table, asked.packet[2:], hot, solved.turn, packed[2:])
        return packed

    def _served(self, asked: _Asked, solved: Solved) -> CountedQuery:
        """What is counted of an answer. The plug-in is the one whose work it was, as far as that is known here."""
        query, blocks = asked.query, self._engine.blocks
        plugin = {"": "kubernetes", "miss": "forward"}.get(solved.cache, "cache")
        zone = blocks.zone(query.name) if blocks else "."
        denial = not solved.reply.answer
        return CountedQuery(
            zone,
            *(asked.stream, type_word(query.rtype), query.do, solved.reply.rcode, plugin),
            denial,
            len(asked.packet),
        )

    def _log(self, asked: _Asked, solved: Solved, packed: bytes) -> None:
        """Writes the lines that the query's block wants."""
        query, reply = asked.query, solved.reply
        block = self._engine.blocks.find(query.name)
        if block is None:
            return
        if (
            block.errors
            and reply.rcode == wire.SERVFAIL
            and solved.cache == "miss"
            and self.journal.takes("dns")
        ):
            self.journal.write("dns", error_line(query, reply.rcode, "no upstream server answered"))
        seconds = self.clock() - asked.since
        size, denied = len(asked.packet), any(r.rtype == rdata.SOA for r in reply.authority)
        came = asked.host, asked.stream, query, size
        done = Exchanged(*came, packed, reply.rcode, bool(reply.answer), denied, seconds)
        if (written := line(block.logs, query.name, done)) and self.journal.takes("dns"):
            self.journal.write("dns", written)

    def note_reload(self, reloaded: Reload) -> None:
        """Writes what became of a Corefile, and counts what was none."""
        self._metrics.failed_reloads += bool(reloaded.refused)
        self.say("\n".join(reloaded.lines))

    def say(self, lines: str) -> None:
        """Writes something of the server itself."""
        if self.journal.takes("dns"):
            self.journal.write("dns", lines)

    def metrics(self) -> str:
        """The metrics of CoreDNS, in Prometheus' format."""
        self.add_up()
        counts = Counter(
            "success" if e.positive else "denial" for _, e in self._cache.entries(None, self.clock())
        )
        return self._metrics.text(counts, self._misses, self._stale)

    def _count(self, rcode: int, cache: str) -> None:
        self._queries += 1
        self._rcodes[rcode] = self._rcodes.get(rcode, 0) + 1
        self._hits += cache in ("hit", "stale")
        self._stale += cache == "stale"
        self._misses += cache == "miss"

    def order(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Does what an operator asks of the cache; see `orders`."""
        done = carry_out(order, self._cache, self.clock())
        self.hot = HotAnswers(self._zones.view, self._zones.restricted)
        return done

    async def close(self, grace: float) -> None:
        """Waits up to `grace` seconds for queries under way, then gives them up."""
        if self._waiting and grace > 0:
            await asyncio.wait(self._waiting, timeout=grace)
        for task in list(self._waiting):
            task.cancel()
        self._forwarder.cancel()
        self._reporter.close()
        self.journal.flush()

    def status(self) -> dict[str, Any]:
        """Counters since the start, and how many answers are kept and awaited now."""
        self.add_up()
        return {
            "queries": self._queries,
            "dropped": self._dropped,
            "rcodes": {wire.rcode_name(code): n for code, n in self._rcodes.items() if n},
            "cache": {
                "hits": self._hits,
                "misses": self._misses,
                "stale": self._stale,
                "entries": len(self._cache),
            },
            "prepared": len(self.hot),
            "waiting": len(self._waiting),
            "upstream": {"exchanges": self._forwarder.exchanges, "failures": self._forwarder.failures},
            "events_skipped": self._reporter.skipped,
        }


def _asked(settings: DnsSettings) -> object:
    """What upstream answers depend on."""
    return settings.is_coredns, settings.upstream.servers, [block.forward for block in settings.given]
