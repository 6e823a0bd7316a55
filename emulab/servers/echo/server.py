"""The echo server: hundreds of pods' listening sockets in one process."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any

from emulab.servers.base import Config, Emit, Server, parse_socket_key, socket_name
from emulab.servers.configuration import from_json
from emulab.servers.echo.answers import EchoAnswer, Identity
from emulab.servers.echo.config import EchoConfig, PodConfig
from emulab.servers.echo.connection import EchoConnection
from emulab.servers.echo.datagrams import DatagramEcho
from emulab.servers.echo.identities import identity_of
from emulab.servers.journal import Journal

_BACKLOG = 4096  # uvloop calls listen() again; the kernel caps it at net.core.somaxconn
_NOBODY = PodConfig()


def create(emit: Emit) -> Server:
    """A new echo server, without any socket until it is configured."""
    return EchoServer(emit)


class Hub:
    """What all listeners share."""

    __slots__ = ("connections", "emit", "journal", "quiet", "requests", "working")

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.journal = Journal()
        self.requests = 0
        self.connections: set[EchoConnection] = set()
        self.working: set[asyncio.Future[EchoAnswer]] = set()  # answers that are being made
        self.quiet: asyncio.Event | None = None  # set once no connection is left, if someone waits


class EchoListener:
    """One listening TCP socket and the identity it answers with."""

    __slots__ = ("_door", "connections", "draining", "hub", "identity", "idle", "log")

    def __init__(self, hub: Hub, identity: Identity, draining: bool, log: str = "") -> None:
        self.hub = hub
        self.identity = identity
        self.log = log
        self.idle = 0.0  # seconds after which a connection is given up; 0: never
        self.draining = draining
        # A server listens, a socket is bound and refuses, None is closed.
        self._door: asyncio.Server | socket.socket | None = None
        # None when empty: there may be a thousand listeners, and few of them busy.
        self.connections: set[EchoConnection] | None = None

    async def open(self, sock: socket.socket) -> None:
        """Starts accepting on a bound socket."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._protocol, sock=sock, backlog=_BACKLOG, start_serving=False)
        self._door = server  # before the first one comes
        await server.start_serving()

    def _protocol(self) -> EchoConnection:
        return EchoConnection(self)

    def gives_up(self, since: float, busy: bool) -> bool:
        """Whether a connection that was idle since then takes no request any more."""
        return not busy and time.monotonic() - since >= self.idle

    def opened(self, connection: EchoConnection) -> None:
        if self.connections is None:
            self.connections = set()
        self.connections.add(connection)
        self.hub.connections.add(connection)
        if isinstance(self._door, socket.socket):
            connection.end(farewell=False)  # accepted in the very moment of silence
        elif self._door is None:
            connection.retire()  # accepted in the very moment of removal

    def closed(self, connection: EchoConnection) -> None:
        if self.connections is not None:
            self.connections.discard(connection)
            if not self.connections:
                self.connections = None
        self.hub.connections.discard(connection)
        if self.hub.quiet is not None and not self.hub.connections:
            self.hub.quiet.set()

    def become(self, identity: Identity) -> None:
        """Stands in for somebody from now on."""
        self.identity = identity

    def drain(self, draining: bool) -> None:
        """Turns draining on or off; on closes what is idle."""
        if draining and not self.draining:
            for connection in list(self.connections or ()):
                connection.close_if_idle()
        self.draining = draining

    def refuse(self) -> None:
        """Stops accepting, until it is to listen again; what is connected stays so."""
        server = self._door
        if server is None or isinstance(server, socket.socket):
            return
        # It stays bound, so that it can listen again: shutdown(2) ends the listening alone.
        self._door = bound = socket.socket(fileno=os.dup(server.sockets[0].fileno()))
        server.close()
        bound.shutdown(socket.SHUT_RD)

    def fall_silent(self) -> None:
        """Ends as a process does that is killed: whoever is connected is cut off, and who comes is refused."""
        self.refuse()
        for connection in list(self.connections or ()):
            connection.end(farewell=False)

    def is_of(self, identity: Identity) -> bool:
        """Whether it is for the pod of this identity."""
        return (self.identity.namespace, self.identity.pod) == (identity.namespace, identity.pod)

    async def listen_again(self) -> None:
        """Ends the silence."""
        if isinstance(bound := self._door, socket.socket):
            bound.setblocking(False)
            await self.open(bound)

    def close(self) -> None:
        """Stops accepting; connections end with the request under way."""
        door, self._door = self._door, None
        if door is not None:
            door.close()
        for connection in list(self.connections or ()):
            connection.retire()


class EchoServer:
    """The stand-in for many container images; see the package for what it answers, `config` for its configuration."""

    def __init__(self, emit: Emit) -> None:
        self._hub = Hub(emit)
        self._tcp: dict[str, EchoListener] = {}
        self._udp: dict[str, DatagramEcho] = {}
        self._of_pods: dict[
            tuple[str, str], list[EchoListener | DatagramEcho]
        ] = {}  # once they are asked for
        self._ended: set[str] = set()  # the logs of containers that don't live

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """Makes the server equal to `config`.

        Raises:
            ValueError: the configuration is wrong, or a listed socket neither open nor among `sockets`. Nothing is
                changed then.
        """
        told = from_json(EchoConfig, config)
        wanted = {key: parse_socket_key(key) for key in told.listen}
        for key, (protocol, _, _) in wanted.items():
            if protocol not in ("tcp", "udp"):
                raise ValueError(f"not a socket's key: {key}")
            if key not in sockets and key not in self._tcp and key not in self._udp:
                raise ValueError(f"no socket was given for {key}")
        # A socket that is given anew under an open key replaces it: its pod was born again.
        for key in [key for key in (*self._tcp, *self._udp) if key not in wanted or key in sockets]:
            if key in sockets:
                self._ended.discard((self._tcp.get(key) or self._udp[key]).log)
            self._close(key)
        for key, sock in sockets.items():
            if key not in wanted:
                sock.close()
        draining = frozenset(told.draining)
        hub = self._hub
        for key, (protocol, address, port) in wanted.items():
            identity = identity_of(
                address,
                port,
                told.identities.get(key) or told.identities.get(address, _NOBODY),
                protocol,
            )
            log = told.logs.get(key) or told.logs.get(address, "")
            if protocol == "udp":
                if key in sockets:
                    name = socket_name((address, port))
                    self._udp[key] = DatagramEcho(sockets[key], name, identity, hub.emit)
                    self._of_pods.clear()
                await self._become(self._udp[key], identity, key in draining, log)
                self._udp[key].draining = key in draining
                continue
            listener = self._tcp.get(key)
            if listener is not None:
                listener.idle = told.idle.get(address, 0.0)
                await self._become(listener, identity, key in draining, log)
                listener.drain(key in draining)
                continue
            listener = EchoListener(hub, identity, key in draining, log)
            listener.idle = told.idle.get(address, 0.0)
            await listener.open(sockets[key])
            if log in self._ended:
                listener.fall_silent()
            self._tcp[key] = listener
            self._of_pods.clear()
        self._ended &= {one.log for one in self._sockets()}

    async def _become(
        self, one: EchoListener | DatagramEcho, identity: Identity, draining: bool, log: str
    ) -> None:
        """Has an open socket stand in for somebody from now on."""
        if (one.draining and not draining) or not one.is_of(identity):
            await one.listen_again()  # another pod has the node's address and this port now
            self._ended.discard(log)
        one.log = log
        if one.identity != identity:
            one.become(identity)
            self._of_pods.clear()
        if log in self._ended:
            one.fall_silent()

    def journal(self, pipe: int) -> None:
        """Takes the pipe to which requests are written, each with the name of its log."""
        self._hub.journal.open(pipe)

    def flush(self) -> None:
        """Writes the lines of requests that there are."""
        self._hub.journal.flush()

    async def close(self, grace: float = 0.0) -> None:
        """Stops accepting, lets requests under way end for up to `grace` seconds, then ends everything."""
        for key in [*self._tcp, *self._udp]:
            self._close(key)
        hub = self._hub
        if hub.connections and grace > 0:
            hub.quiet = asyncio.Event()
            try:
                await asyncio.wait_for(hub.quiet.wait(), grace)
            except TimeoutError:
                pass
            finally:
                hub.quiet = None
        for connection in list(hub.connections):
            connection.end()
        await asyncio.sleep(0)  # the loop tells the protocols of their end in its next turn

    def order(self, order: Mapping[str, Any]) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        """What becomes of those of a `pod`: `lives` says it of one container, whose log is named, else the pod goes."""
        there = self._listeners(*order["pod"])
        if "lives" in order:
            if order["lives"]:
                self._ended.discard(order["log"])
            elif order["log"]:
                self._ended.add(order["log"])
            return self._live([one for one in there if one.log in ("", order["log"])], order["lives"])
        return self._leave(there, order["now"])

    async def _live(self, there: Sequence[EchoListener | DatagramEcho], lives: bool) -> dict[str, Any]:
        """Ends a life of a container, or begins one."""
        for listener in there:
            if lives:
                await listener.listen_again()
            else:
                listener.fall_silent()
        return {}

    def _leave(self, there: Sequence[EchoListener | DatagramEcho], now: bool) -> dict[str, Any]:
        """Ends the connections of a pod that goes, while there is a network over which to say so: WebSockets at once,
        and `now` all the others. Says how many have requests under way."""
        if now:
            for listener in there:
                listener.refuse()  # the next pod at a node's address may have its socket
        left = 0
        streams = [one for one in there if isinstance(one, EchoListener)]
        for connection in [one for listener in streams for one in listener.connections or ()]:
            has_request = connection.has_request()
            left += has_request
            if now or (connection.is_busy() and not has_request):
                connection.end()
        return {"requests": left}

    def _sockets(self) -> Iterator[EchoListener | DatagramEcho]:
        yield from self._tcp.values()
        yield from self._udp.values()

    def _listeners(self, namespace: str, pod: str) -> list[EchoListener | DatagramEcho]:
        """Those of a pod. Thousands of pods may go at once, so all listeners aren't looked at for each."""
        if not self._of_pods:
            for listener in self._sockets():
                one = listener.identity
                self._of_pods.setdefault((one.namespace, one.pod), []).append(listener)
        return self._of_pods.get((namespace, pod), [])

    def status(self) -> dict[str, Any]:
        """Numbers of open sockets and connections, and what has been answered so far."""
        return {
            "sockets": len(self._tcp) + len(self._udp),
            "connections": len(self._hub.connections),
            "requests": self._hub.requests,
            "datagrams": sum(echo.datagrams for echo in self._udp.values()),
            "draining": sum(listener.draining for listener in self._tcp.values()),
        }

    def _close(self, key: str) -> None:
        listener = self._tcp.pop(key, None)
        if listener is not None:
            self._of_pods.clear()
            listener.close()
        echo = self._udp.pop(key, None)
        if echo is not None:
            self._of_pods.clear()
            echo.close()
