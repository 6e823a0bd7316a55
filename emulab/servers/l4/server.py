"""The balancer's listeners, and the change from one configuration to the next."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

from emulab.servers.base import Config, Emit, Server, parse_socket_key
from emulab.servers.configuration import BadConfiguration, from_json
from emulab.servers.l4.acl import Acl
from emulab.servers.l4.config import FrontendConfig, L4Config
from emulab.servers.l4.frontend import Frontend, Spec, checked_spec
from emulab.servers.l4.health import Checker
from emulab.servers.l4.tcp import Half, Session
from emulab.servers.l4.udp import UdpProxy
from emulab.servers.patches import read_changes

_BACKLOG = 4096  # uvloop calls listen() again; the kernel caps it at net.core.somaxconn


def create(emit: Emit) -> Server:
    """A new L4 balancer, without any socket until it is configured."""
    return L4Server(emit)


class _Listener:
    """One open socket with its frontend."""

    def __init__(self, frontend: Frontend, emit: Emit, sessions: set[Session]) -> None:
        self.frontend = frontend
        self.checker = Checker(frontend, emit)
        self._emit = emit
        self._sessions = sessions
        self._server: asyncio.Server | None = None
        self._datagrams: UdpProxy | None = None

    async def open(self, sock: socket.socket) -> None:
        if self.frontend.key.startswith("udp/"):
            self._datagrams = UdpProxy(self.frontend, sock, self._emit)
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=sock, backlog=_BACKLOG)

    def _accept(self) -> Half:
        session = Session(self.frontend, self._emit, self._sessions.discard)
        self._sessions.add(session)
        return session.client

    def update(self, spec: Spec) -> None:
        self.frontend.update(spec)
        if self._datagrams is not None:
            self._datagrams.follow()

    def close(self) -> None:
        """Accepts no more connections; sessions go on."""
        self.checker.stop()
        self.close_socket()

    def close_socket(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None


class L4Server:
    """The L4 balancer; its configuration is described in `config`."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._listeners: dict[str, _Listener] = {}
        self._sessions: set[Session] = set()

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """Makes the balancer equal to `config`. Established connections go on, also through removed targets.

        Raises:
            ValueError: the configuration is wrong, or a listed socket was not given. Nothing is changed then.
        """
        wanted = self._wanted(from_json(L4Config, config), sockets)
        # All frontends change before the first await, so no connection sees half of a change.
        for key in [key for key in self._listeners if key not in wanted]:
            self._listeners.pop(key).close()
        fresh: list[_Listener] = []
        for key, spec in wanted.items():
            listener = self._listeners.get(key)
            if listener is None:
                listener = _Listener(Frontend(spec), self._emit, self._sessions)
                self._listeners[key] = listener
            else:
                listener.update(spec)
            listener.checker.follow()
            if key in sockets:
                listener.close_socket()
                fresh.append(listener)
        for key, sock in sockets.items():
            if key not in wanted:
                sock.close()
        for listener in fresh:
            await listener.open(sockets[listener.frontend.key])

    def _wanted(self, config: L4Config, sockets: Mapping[str, socket.socket]) -> dict[str, Spec]:
        specs = {key: checked_spec(key, given) for key, given in config.frontends.items()}
        wanted: dict[str, Spec] = {}
        for key in config.listen:
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
            self._listeners[key].checker.follow()

    async def close(self, grace: float = 0.0) -> None:
        """Stops accepting, waits up to `grace` seconds for connections to end, then resets them."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while self._sessions and loop.time() < deadline:
            await asyncio.sleep(min(0.02, max(0.0, deadline - loop.time())))
        for session in list(self._sessions):
            session.reset()
        await asyncio.sleep(0)  # the loop tells the protocols of their end in its next turn

    def status(self) -> dict[str, Any]:
        """Health, connections and bytes by frontend and target."""
        return {
            "connections": len(self._sessions),
            "frontends": {key: listener.frontend.status() for key, listener in self._listeners.items()},
        }
