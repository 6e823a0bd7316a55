"""The balancer's listeners, and the change from one configuration to the next."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from emulab.servers.base import Config, Emit, Others, Server, parse_socket_key
from emulab.servers.configuration import BadConfiguration, from_json
from emulab.servers.exposition import CONTENT_TYPE
from emulab.servers.journal import Journal
from emulab.servers.l4.acceptor import accept_sessions
from emulab.servers.l4.acl import Acl
from emulab.servers.l4.config import FrontendConfig, L4Config
from emulab.servers.l4.frontend import Frontend
from emulab.servers.l4.health import Checker, Checks
from emulab.servers.l4.metrics import exposition
from emulab.servers.l4.pump import Pump
from emulab.servers.l4.spec import Spec, checked_spec
from emulab.servers.l4.tcp import Around, Session
from emulab.servers.l4.udp import UdpProxy
from emulab.servers.l7.shell.pages import PageReader
from emulab.servers.patches import read_changes
from emulab.servers.streams.accepting import Acceptor

_NUMBERS = 10**12  # so far apart are the numbers that workers give to connections


def create(emit: Emit) -> Server:
    """A new L4 balancer, without any socket until it is configured."""
    return L4Server(emit)


class _Listener:
    """One open socket with its frontend."""

    def __init__(
        self, frontend: Frontend, around: Around, heard: Callable[[dict[str, Any]], None], checks: Checks
    ) -> None:
        self.frontend = frontend
        self.checker = Checker(frontend, heard, checks)
        self._around = around
        self._acceptor: Acceptor | None = None
        self._datagrams: UdpProxy | None = None

    def open(self, sock: socket.socket) -> None:
        if self.frontend.key.startswith("udp/"):
            self._datagrams = UdpProxy(self.frontend, sock, self._around.emit, self._around.numbers)
        else:
            self._acceptor = accept_sessions(sock, self.frontend, self._around)

    def update(self, spec: Spec) -> None:
        self.frontend.update(spec)
        if spec.drain is not None:
            self._drain(spec.drain)
        if self._datagrams is not None:
            self._datagrams.follow()

    def _drain(self, seconds: float) -> None:
        """Connections to targets that are configured no more may go on for so long."""
        there = set(self.frontend.targets)
        for session in self._around.sessions:
            if session.frontend is self.frontend and session.target and session.target not in there:
                session.drain(seconds)

    def close(self) -> None:
        """Accepts no more connections; sessions go on."""
        self.checker.stop()
        self.close_socket()

    def close_socket(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None


class L4Server:
    """The L4 balancer; its configuration is described in `config`."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._listeners: dict[str, _Listener] = {}
        self._sessions: set[Session] = set()
        self._around: Around
        self._watched: dict[str, _Listener] = {}
        self._checks = Checks()
        self._pages: dict[str, asyncio.Server] = {}
        self._begun = 0.0
        self._worker = 0
        self._others: Others | None = None
        self._journal = Journal(single=True)

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """Makes the balancer equal to `config`. Established connections go on, also through removed targets.

        Raises:
            ValueError: the configuration is wrong, or a listed socket was not given. Nothing is changed then.
        """
        asked = from_json(L4Config, config)
        wanted = self._wanted(asked, sockets)
        watched = {key: checked_spec(key, given) for key, given in asked.watched.items()}
        self._worker = asked.worker
        self._begin()
        # All frontends change before the first await, so no connection sees half of a change.
        for key in [key for key in self._listeners if key not in wanted]:
            self._listeners.pop(key).close()
        fresh: list[_Listener] = []
        for key, spec in wanted.items():
            listener = self._listeners.get(key)
            if listener is None:
                listener = self._listeners[key] = self._listener(spec)
            else:
                listener.update(spec)
            self._check(listener)
            if key in sockets:
                listener.close_socket()
                fresh.append(listener)
        self._watch(watched)
        for key, sock in sockets.items():
            if key not in wanted and key not in asked.metrics:
                sock.close()
        if asked.worker:
            self._believe(asked.unhealthy)
        for listener in fresh:
            listener.open(sockets[listener.frontend.key])
        await self._serve_pages(asked.metrics, sockets)

    def _begin(self) -> None:
        """Takes what the running loop has to give, and the log, which is where the process prints."""
        if self._begun:
            return
        self._begun = time.time()
        loop = asyncio.get_running_loop()
        numbers = count(1 + self._worker * _NUMBERS)
        self._around = Around(loop, Pump(), self._emit, self._journal, self._sessions, numbers)
        with suppress(OSError):  # without /proc there is no log
            self._journal.open(os.open("/proc/self/fd/1", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def _check(self, listener: _Listener) -> None:
        """Checks targets, or, where the leader does, hears of it from there."""
        if not self._worker:
            listener.checker.follow()

    def _listener(self, spec: Spec) -> _Listener:
        return _Listener(Frontend(spec), self._around, self._heard, self._checks)

    def _believe(self, unhealthy: Mapping[str, Sequence[str]]) -> None:
        """Takes over what the leader knows of the targets."""
        for key, one in self._listeners.items():
            for target in one.frontend.targets:
                target.health.healthy = target.name not in unhealthy.get(key, ())

    def _watch(self, wanted: Mapping[str, Spec]) -> None:
        """Checks the targets of frontends whose packets the kernel forwards."""
        for key in [key for key in self._watched if key not in wanted]:
            self._watched.pop(key).close()
        for key, spec in wanted.items():
            watched = self._watched.get(key)
            if watched is None:
                watched = self._watched[key] = self._listener(spec)
            else:
                watched.update(spec)
            self._check(watched)

    async def _serve_pages(self, keys: Sequence[str], sockets: Mapping[str, socket.socket]) -> None:
        for key in [key for key in self._pages if key not in keys or key in sockets]:
            self._pages.pop(key).close()
        loop = asyncio.get_running_loop()
        for key in keys:
            if key in sockets:
                self._pages[key] = await loop.create_server(lambda: PageReader(self._page), sock=sockets[key])

    async def _page(self, path: str) -> tuple[str, str] | None:
        if path != "/metrics":
            return None
        others = await self._others.statuses() if self._others else []
        frontends = self._joined(others).values()
        return CONTENT_TYPE, exposition(frontends, time.time() - self._begun)

    def _wanted(self, config: L4Config, sockets: Mapping[str, socket.socket]) -> dict[str, Spec]:
        specs = {key: checked_spec(key, given) for key, given in config.frontends.items()}
        wanted: dict[str, Spec] = {}
        for key in config.listen:
            if key in config.metrics:
                continue
            if parse_socket_key(key)[0] not in ("tcp", "udp"):
                raise ValueError(f"not a socket's key: {key}")
            if key not in sockets and key not in self._listeners:
                raise ValueError(f"no socket was given for {key}")
            wanted[key] = specs.get(key) or Spec(key, Acl())
        unheard = [key for key in specs if key not in wanted]
        if unheard:
            raise ValueError(f"a frontend without a listening socket: {', '.join(unheard)}")
        return wanted

    def patch(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """See `base.Patchable`: frontends change, and the sockets stay."""
        given = read_changes(FrontendConfig, changes.get("frontends", {}), "frontends")
        if unheard := [key for key in given if key not in self._listeners]:
            raise BadConfiguration(f"a frontend without a listening socket: {', '.join(unheard)}")
        wanted = {key: checked_spec(key, new) if new else Spec(key, Acl()) for key, new in given.items()}
        for key, spec in wanted.items():
            self._listeners[key].update(spec)
            self._check(self._listeners[key])

    async def close(self, grace: float = 0.0) -> None:
        """Stops accepting, waits up to `grace` seconds for connections to end, then resets them."""
        for listener in (*self._listeners.values(), *self._watched.values()):
            listener.close()
        for page in self._pages.values():
            page.close()
        self._listeners.clear()
        self._watched.clear()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._sessions and loop.time() < deadline:
            await asyncio.sleep(min(0.02, max(0.0, deadline - loop.time())))
        for session in list(self._sessions):
            session.reset()
        self._journal.flush()
        if self._begun:
            self._begun = 0.0
            self._around.pump.close()

    def status(self) -> dict[str, Any]:
        """Health, connections and bytes by frontend and target."""
        return self.together(())

    def together(self, others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """See `base.Crewed`."""
        return {
            "connections": len(self._sessions) + sum(other["connections"] for other in others),
            "frontends": {key: frontend.status() for key, frontend in self._joined(others).items()},
        }

    def _joined(self, others: Sequence[Mapping[str, Any]]) -> dict[str, Frontend]:
        """All frontends, with what others have of them. The targets' counts aren't kept for each read."""
        for session in self._sessions:
            session.settle()
        there = {**self._listeners, **self._watched}
        return {
            key: one.frontend.with_others([f for other in others if (f := other["frontends"].get(key))])
            for key, one in there.items()
        }

    def lead(self, others: Others) -> None:
        """See `base.Crewed`."""
        self._others = others

    def for_worker(self, config: Config, number: int) -> dict[str, Any]:
        """See `base.Crewed`."""
        listen = [key for key in config["listen"] if key not in config.get("metrics", ())]
        sick = {
            key: [t.name for t in one.frontend.targets if not t.health.healthy]
            for key, one in self._listeners.items()
        }
        own = {"listen": listen, "metrics": [], "watched": {}, "worker": number, "unhealthy": sick}
        return {**config, **own}

    def tell(self, message: Mapping[str, Any]) -> None:
        """See `base.Informed`: the leader tells what came of checks."""
        if self._worker and (told := message.get("health")):
            one = self._listeners.get(
                told["frontend"]
            )  # None: its configuration is still to come, and says it
            for target in one.frontend.targets if one else ():
                if target.name == told["target"]:
                    target.health.healthy = told["healthy"]

    def _heard(self, record: dict[str, Any]) -> None:
        """A check has found out something."""
        if self._others is not None:
            self._others.tell({"health": {name: record[name] for name in ("frontend", "target", "healthy")}})
        self._emit(record)
