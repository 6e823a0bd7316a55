"""A balancer that is HAProxy: as a server of the lab."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from emulab.servers.accesslog import OWN
from emulab.servers.base import Config, Emit, Server, vital
from emulab.servers.configuration import from_json
from emulab.servers.engines.balancer import control
from emulab.servers.engines.balancer.conf import (
    ADMIN,
    CFG,
    FOLDER,
    MASTER,
    STATES,
    BalancerPlace,
    balancer_cfg,
)
from emulab.servers.engines.balancer.logged import (
    connection_records,
    health_record,
    refusal_record,
    refusals,
    told,
)
from emulab.servers.engines.balancer.names import OPEN, REFUSED, proxy_name, server_name
from emulab.servers.engines.balancer.statistics import Rows, frontend_status, read_rows
from emulab.servers.engines.running import EngineRunner, ProgramMake
from emulab.servers.journal import Journal
from emulab.servers.l4.config import FrontendConfig, L4Config

_MAKE = ProgramMake(
    "haproxy",
    FOLDER,
    ("haproxy", "-W", "-db", "-q", "-S", MASTER, "-f", CFG),
    test=("haproxy", "-c", "-f", CFG),
    reload=signal.SIGUSR2,
    leave=signal.SIGUSR1,
    leaves_late=False,  # its master stops them before it starts others
    environment=lambda _: {},
)


def create(emit: Emit) -> Server:
    """A HAProxy that serves nothing until it is configured; what it logs is reported through `emit`."""
    return HaproxyBalancer(emit)


class HaproxyBalancer:
    """HAProxy with the configuration of an L4 balancer."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._runner = EngineRunner(_MAKE)
        self._config = L4Config(())
        self._proxies: dict[str, tuple[str, FrontendConfig]] = {}  # by the names of their proxies
        self._refused: dict[str, dict[str, int]] = {}  # by the names of their proxies
        self._numbers = count(1)
        self._lock = asyncio.Lock()
        self._rows: Rows = {}
        self._watch: asyncio.Task[None] | None = None
        self._drains: set[asyncio.Task[None]] = set()
        self._journal = Journal(single=True)
        with suppress(OSError):  # without /proc there is no log
            self._journal.open(os.open("/proc/self/fd/1", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. Raises ValueError, with nothing changed, for what the program refuses."""
        async with self._lock:
            await self._configure(from_json(L4Config, config), sockets)
        if self._watch is not None:
            self._watch.cancel()
        self._watch = vital(asyncio.ensure_future(self._runner.watch()))

    async def _configure(self, wanted: L4Config, sockets: Mapping[str, socket.socket]) -> None:
        runner, before = self._runner, self._config
        await runner.prepare(self._logged)
        gone = [key for key in runner.sockets if key not in wanted.listen or key in sockets]
        stay = {key: sock for key, sock in runner.sockets.items() if key not in gone}
        listeners = {**stay, **{key: sock for key, sock in sockets.items() if key in wanted.listen}}
        kept = await self._kept()
        await self._keep_states()
        # A worker that begins tells at once whom it can't reach.
        known, self._proxies = (
            self._proxies,
            {proxy_name(key): (key, one) for key, one in wanted.frontends.items()},
        )

        def files(generation: int) -> Mapping[str, str]:
            descriptors = {key: sock.fileno() for key, sock in listeners.items()}
            return {CFG: balancer_cfg(wanted, BalancerPlace(descriptors, generation))}

        try:
            await runner.use(files, listeners)
        except ValueError:
            self._proxies = known
            raise
        runner.let_go(gone)
        runner.sockets, self._config = listeners, wanted
        await self._keep_clients(kept)
        self._drain(before, wanted)

    async def _kept(self) -> dict[str, dict[str, str]]:
        """By proxy, the clients that are to stay where they are."""
        found: dict[str, dict[str, str]] = {}
        for key, one in self._config.frontends.items():
            servers = {n: server_name(target.name) for n, target in enumerate(one.targets, 1)}
            for name in (proxy_name(key), proxy_name(key + OPEN)) if one.affinity else ():
                clients = await control.kept_clients(ADMIN, name)
                found[name] = {client: servers[n] for client, n in clients.items() if n in servers}
        return found

    async def _keep_clients(self, kept: Mapping[str, Mapping[str, str]]) -> None:
        """Tells a worker that has begun of the clients that were elsewhere before."""
        for key, one in self._config.frontends.items():
            numbers = {server_name(target.name): n for n, target in enumerate(one.targets, 1)}
            for name in (proxy_name(key), proxy_name(key + OPEN)) if one.affinity else ():
                clients = kept.get(name, {})
                known = {client: numbers[server] for client, server in clients.items() if server in numbers}
                await control.keep_clients(ADMIN, name, known)

    async def _keep_states(self) -> None:
        """Writes down who is healthy, for the worker that begins (`load-server-state-from-file`)."""
        states = await control.ask(ADMIN, "show servers state") if self._runner.program.running else ""
        await asyncio.to_thread(Path(STATES).write_text, states.strip() + "\n" if states.strip() else "1\n")

    def _drain(self, before: L4Config, after: L4Config) -> None:
        """Connections to targets that are configured no more may go on for so long."""
        for key, one in after.frontends.items():
            old = before.frontends.get(key)
            if old is None or one.drain is None:
                continue
            there = {(t.name, t.address, t.port) for t in one.targets}
            gone = [t.name for t in old.targets if (t.name, t.address, t.port) not in there]
            if gone:
                task = asyncio.ensure_future(self._end(key, gone, one.drain))
                self._drains.add(task)
                task.add_done_callback(self._drains.discard)

    async def _end(self, key: str, targets: list[str], seconds: float) -> None:
        await asyncio.sleep(seconds)
        for number in self._runner.numbers:
            for name in targets:
                for proxy in (proxy_name(key), proxy_name(key + OPEN)):
                    master = MASTER.replace("{number}", str(number))
                    await control.end_sessions(master, proxy, server_name(name))

    def _logged(self, datagram: bytes) -> None:
        """A connection has ended, or a target's health has changed."""
        said = told(datagram)
        if said is None:
            if (record := health_record(datagram, self._proxies)) is not None:
                self._emit(record)
            return
        if self._journal.takes(OWN):
            self._journal.write(OWN, said["line"])
        if self._emit.wanted and said["frontend"] in self._proxies:
            for record in connection_records(said, *self._proxies[said["frontend"]], next(self._numbers)):
                self._emit(record)

    async def refresh(self) -> None:
        """See `base.Refreshed`."""
        self._rows = read_rows(await control.ask(ADMIN, "show stat"))
        for name, (key, one) in list(self._proxies.items()):
            known = self._refused.get(name, {})
            now = self._refused[name] = refusals(
                await control.ask(ADMIN, f"show table {proxy_name(key + REFUSED)}")
            )
            for client, reason in now.items():
                if client not in known and self._emit.wanted:
                    self._emit(refusal_record(client, reason, key, one, next(self._numbers)))

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`."""
        for task in (*self._drains, *([self._watch] if self._watch else ())):
            task.cancel()
        await self._runner.close(grace)
        self._journal.flush()

    def status(self) -> dict[str, Any]:
        """As our own balancer's, as of the last `refresh`; and the program's process."""
        runner = self._runner
        frontends = {
            key: frontend_status(key, one, self._rows) for key, one in self._config.frontends.items()
        }
        own = {"engine": runner.how.name, "pid": runner.program.pid, "generation": runner.generation}
        return {**own, "connections": sum(one["open"] for one in frontends.values()), "frontends": frontends}

    def files(self) -> Mapping[str, str]:
        """See `base.Filed`."""
        return self._runner.files
