"""A server of the lab around a real program: its sockets and files, its reloads, and what its log tells of requests."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import EmulabError, UserError
from emulab.servers.accesslog import OWN
from emulab.servers.base import Config, Emit, vital
from emulab.servers.configuration import from_json
from emulab.servers.engines.logged import LoggedRequest, records
from emulab.servers.engines.running import EngineRunner, ProgramMake
from emulab.servers.engines.shared import KnownName, is_named
from emulab.servers.exposition import CONTENT_TYPE
from emulab.servers.journal import Journal
from emulab.servers.l7.config import L7Config, MeasuredAs
from emulab.servers.l7.engine.entry import RequestEntry
from emulab.servers.l7.engine.routes import NO_ROUTE, ReadyRoute
from emulab.servers.l7.engine.snapshot import Snapshot, take
from emulab.servers.l7.personalities.figures import Connections
from emulab.servers.l7.shell.notices import Notices
from emulab.servers.l7.shell.pages import PLAIN, PageReader
from emulab.servers.l7.shell.process import own_process
from emulab.servers.lastbytes import until_sent
from emulab.servers.stub import ResolverConfig, families_at, resolve

_HASTE, _ASK_AGAIN = 0.25, 2.0
"""Seconds for which the first attempt to find a name waits for an answer, and for which it is waited then: the name
servers of a lab that begins come a moment later. Twice as many from one attempt to the next, up to the last."""
_AT_ONCE = 50  # names that are asked for


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a configuration has to know besides what the proxy is told."""

    sockets: Mapping[str, socket.socket]  # what to listen at, by the key in `listen`; they are handed over
    workers: int
    generation: int  # tells which configuration is in use
    names: Mapping[str, KnownName]  # servers that are names


@dataclass(frozen=True, slots=True)
class Make:
    """One make of ingress.

    `files` are the texts by their paths, of which the first is the configuration. `entry` is what a message of the
    program's log says.
    """

    program: ProgramMake
    files: Callable[[L7Config, EngineSettings], Mapping[str, str]]
    told: Callable[[bytes], LoggedRequest | None]
    entry: Callable[[LoggedRequest, Mapping[int, ReadyRoute]], RequestEntry]


class ProgramIngress:
    """A program with the configuration of an L7 proxy."""

    def __init__(self, emit: Emit, make: Make) -> None:
        self._emit = emit
        self._make = make
        self._runner = EngineRunner(make.program)
        self._snapshot: Snapshot = take(L7Config(()), {})
        self._config = L7Config(())
        self._pages: dict[str, asyncio.Server] = {}
        self._routes: dict[int, ReadyRoute] = {}
        self._names: dict[str, KnownName] = {}
        self._unanswered: set[str] = set()
        self._lock = asyncio.Lock()
        self._tasks: list[asyncio.Future[None]] = []
        self._metrics = self._snapshot.personality.metrics()
        self._configured = time.time()
        self._counters: Counter[str] = Counter()
        self._journal = Journal(single=True)
        self._notices = Notices(self._journal)
        with suppress(OSError):  # without /proc there is no log
            self._journal.open(os.open("/proc/self/fd/1", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. Raises ValueError, with nothing changed, for what the program refuses."""
        async with self._lock:
            await self._configure(config, sockets)
        for task in self._tasks:
            task.cancel()
        self._tasks = [
            vital(asyncio.ensure_future(self._learn_names())),
            vital(asyncio.ensure_future(self._runner.watch())),
        ]

    async def _configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        wanted = from_json(L7Config, config)
        snapshot = take(wanted, self._snapshot.groups)
        await self._runner.prepare(self._logged)
        gone = [key for key in self._runner.sockets if key not in wanted.listen or key in sockets]
        kept = {key: one for key, one in self._runner.sockets.items() if key not in gone}
        fresh = {key: one for key, one in sockets.items() if key in wanted.listen and key not in wanted.pages}
        listeners = {**kept, **fresh}
        await self._serve_pages(wanted, sockets)
        await self._ask_names(wanted)
        await self._use(wanted, listeners)
        self._runner.let_go(gone)
        self._runner.sockets, self._snapshot, self._config = listeners, snapshot, wanted
        self._routes = dict(enumerate(snapshot.ready))
        self._metrics.configure(wanted.measured or MeasuredAs({}), snapshot.hosts, snapshot.origins)
        self._configured = time.time()
        self._notices.post(wanted.notices, wanted.certificates)

    # --- the program ------------------------------------------------------------------------------------------------

    async def _use(self, wanted: L7Config, listeners: Mapping[str, socket.socket]) -> None:
        """Has the program follow a configuration."""
        names = dict(self._names)

        def files(generation: int) -> Mapping[str, str]:
            return self._make.files(wanted, EngineSettings(listeners, wanted.workers, generation, names))

        await self._runner.use(files, listeners, wanted.workers)

    async def _ask_names(self, wanted: L7Config) -> None:
        """Asks, in haste, for the names that a configuration is to be written with: HAProxy goes by the addresses that
        they have by then until its own resolvers have answered. Who wasn't answered for before is left to
        `_learn_names`."""
        names, resolver = _names_in(wanted), _resolver(wanted)
        asked = names - self._unanswered
        self._names |= await in_full(asked, resolver, _hasty(resolver, _HASTE))
        self._unanswered = names - self._names.keys()

    async def _learn_names(self) -> None:
        """Finds out what the names of servers are that weren't known when their configuration came."""
        config = self._config
        resolver, names = _resolver(config), _names_in(config) - self._names.keys()
        patience = _HASTE
        while names:
            hasty = _hasty(resolver, patience) if patience < _ASK_AGAIN else None
            found = await in_full(names, resolver, hasty)
            if found:
                names -= found.keys()
                async with self._lock:
                    self._names |= found
                    await self._use(self._config, self._runner.sockets)
            else:
                await asyncio.sleep(patience)
                patience = min(2 * patience, _ASK_AGAIN)

    # --- what is answered and told here -----------------------------------------------------------------------------

    async def _serve_pages(self, wanted: L7Config, sockets: Mapping[str, socket.socket]) -> None:
        """The pages that the controller answers by itself, which isn't the program."""
        for key in [key for key in self._pages if key not in wanted.pages or key in sockets]:
            self._pages.pop(key).close()
        loop = asyncio.get_running_loop()
        for key in wanted.pages:
            if key in sockets and key not in wanted.tls_listen:
                self._pages[key] = await loop.create_server(self._reader_of(key), sock=sockets[key])

    def _reader_of(self, key: str) -> Callable[[], PageReader]:
        return lambda: PageReader(lambda path: self._page(key, path))

    def _page(self, key: str, path: str) -> tuple[str, str] | None:
        snapshot = self._snapshot
        if path == "/metrics" and key in snapshot.metrics_at:
            counted = Connections(self._counters["accepted"], self._counters["requests"], 0, 0)
            figures = self._metrics.figures(counted, own_process())
            return CONTENT_TYPE, self._metrics.text(figures, snapshot.certificates, self._configured)
        text = (snapshot.pages.get(key) or {}).get(path)
        return (PLAIN, text) if text is not None else None

    def _logged(self, datagram: bytes) -> None:
        """A request has been answered."""
        said = self._make.told(datagram)
        if said is None:
            self._counters["cut"] += 1
            return
        done = self._make.entry(said, self._routes)
        self._counters["requests"] += 1
        if self._snapshot.measured is not None:
            self._metrics.add_entry(done)
        silent, unlogged = not done.rule.policy.access_log, self._snapshot.unlogged
        silent |= unlogged is not None and done.head.target.decode("latin-1") in unlogged
        if done.rule is NO_ROUTE:  # asked of the default upstream, or answered by the program itself
            silent |= self._snapshot.hushes(
                None, done.head.host or b"", 404 if done.upstream_name else done.status
            )
        if not silent and self._journal.takes(OWN):
            self._journal.write(OWN, self._snapshot.log_line(done, time.time()))
        if self._emit.wanted:
            for record in records(done, said, self._make.program.name):
                self._emit(record)

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`."""
        for task in self._tasks:
            task.cancel()
        for server in self._pages.values():
            server.close()
        ports, until = (
            {one.getsockname()[1] for one in self._runner.sockets.values()},
            time.monotonic() + grace,
        )
        await self._runner.close(grace)
        await until_sent(ports, until - time.monotonic())
        self._notices.close()
        self._journal.flush()

    def status(self) -> dict[str, Any]:
        """Counters, and the program's process."""
        runner = self._runner
        own = {"engine": runner.how.name, "pid": runner.program.pid, "generation": runner.generation}
        return {**self._counters, **own}

    def files(self) -> Mapping[str, str]:
        """See `base.Filed`."""
        return {path: text for path, text in self._runner.files.items() if "PRIVATE KEY" not in text}


def _names_in(config: L7Config) -> set[str]:
    servers = (one for upstream in config.upstreams.values() for one in upstream.servers)
    return {one.rpartition(":")[0] for one in servers if is_named(one)}


def _resolver(config: L7Config) -> ResolverConfig:
    return ResolverConfig.parse(config.resolv_conf, config.hosts, families_at(config.listen))


def _hasty(resolver: ResolverConfig, patience: float) -> ResolverConfig:
    return replace(resolver, timeout=patience, attempts=1)


async def in_full(
    names: Iterable[str], resolver: ResolverConfig, hasty: ResolverConfig | None
) -> dict[str, KnownName]:
    """Those of the names that are known, with what they are: one that nobody answers for holds up no other."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one_in_full(name: str) -> KnownName | None:
        async with room:
            return await _in_full(name, resolver, hasty)

    asked = sorted(names)
    answers = await asyncio.gather(*map(one_in_full, asked))
    return {name: known for name, known in zip(asked, answers, strict=True) if known}


async def _in_full(name: str, resolver: ResolverConfig, hasty: ResolverConfig | None) -> KnownName | None:
    """The first of a name's candidates that has an address; None where none has, or it isn't known in haste."""
    if name in resolver.hosts:
        return KnownName(resolver.hosts[name][0])
    for candidate in resolver.candidates(name):
        try:
            address = await resolve(candidate, hasty or resolver, _open_socket)
        except UserError:
            continue
        except EmulabError:
            if hasty:
                return None  # it may be there: who comes after it would be another one
            continue
        return KnownName(candidate.removesuffix("."), address)
    return None


async def _open_socket(family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock
