"""Connections to upstream servers and the pool that keeps them.

Rules:

* A connection serves one request at a time and belongs to its `owner` meanwhile; idle ones wait in the
  pool, the one used last goes out first; to an address of several endpoints that used least recently (see `spread`).
* Whatever an idle connection receives ends it: an end of stream, or bytes that nobody asked for. What the kernel
  has received and the loop hasn't told yet counts too: read after the next request was sent, it would be taken
  for the answer.
* A server that is no longer configured drains: its idle connections close at once, the others when
  their request is through.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from emulab.servers.base import socket_name
from emulab.servers.l7.config import Options
from emulab.servers.l7.engine.snapshot import KeptServer
from emulab.servers.l7.engine.ways import UpstreamWay
from emulab.servers.l7.messages.response import UpstreamResponse
from emulab.servers.l7.shell.spread import Spread
from emulab.servers.streams.epollset import EpollSet
from emulab.servers.streams.plain import StreamTransport
from emulab.servers.streams.secure import AnyTransport
from emulab.servers.stub import ResolverConfig


class UpstreamUser(Protocol):
    """The side of a client that an upstream's connection serves."""

    def connected(self, upstream: UpstreamConnection) -> None: ...
    def connect_failed(self, why: str, timed_out: bool) -> None: ...
    def upstream_received(self, data: bytes) -> None: ...
    def upstream_ended(self, reset: bool) -> None: ...
    def upstream_filled(self, full: bool) -> None: ...


Opener = Callable[["Pool", "Where", float, UpstreamUser], Coroutine[Any, Any, None]]
"""Opens a connection within so many seconds, and tells who is to have it how that went."""
Where = str | tuple[str, UpstreamWay]
"""A server's address, and the way to it where that isn't plain HTTP/1.1."""


def address_of(where: Where) -> str:
    """The address alone."""
    return where if isinstance(where, str) else where[0]


class UpstreamConnection:
    """One connection to one server."""

    __slots__ = (
        "address",
        "fd",
        "idle_until",
        "owner",
        "poll",
        "pool",
        "reader",
        "served",
        "source",
        "streams",
        "transport",
        "where",
        "write",
    )

    transport: AnyTransport
    poll: Callable[[int], list[tuple[int, int]]]
    """What the kernel has received and the loop hasn't told; given 0, it doesn't wait."""
    write: Callable[[bytes], None]
    """Sends bytes as of HTTP/1."""

    def __init__(self, pool: Pool, where: Where) -> None:
        self.pool = pool
        self.where = where
        self.address = address_of(where)
        self.owner: UpstreamUser | None = None
        self.reader = UpstreamResponse()
        self.idle_until = 0.0
        self.served = 0  # requests
        self.source = ""

    def connection_made(self, transport: AnyTransport) -> None:
        self.transport = transport
        self.write = transport.write
        self.source = socket_name(transport.get_extra_info("sockname"))
        self.streams = self.pool.streams() if isinstance(transport, StreamTransport) else None
        poll, self.fd = select.poll(), transport.get_extra_info("socket").fileno()
        poll.register(self.fd, select.POLLIN)
        self.poll = poll.poll
        self.pool.made(self)

    @property
    def silent(self) -> bool:
        """Whether the server has sent nothing that isn't read, and hasn't closed."""
        if self.transport.is_closing():
            return False
        streams = self.streams
        return (streams is not None and streams.was_silent(self.fd)) or not self.poll(0)

    def drop(self) -> None:
        """Ends the connection at once; its owner hears no more of it."""
        self.owner = None
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        owner = self.owner
        if owner is None:
            self.transport.abort()
            return
        owner.upstream_received(data)

    def eof_received(self) -> None:
        """The connection ends with it."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.upstream_ended(exc is not None)

    def pause_writing(self) -> None:
        if self.owner is not None:
            self.owner.upstream_filled(True)

    def resume_writing(self) -> None:
        if self.owner is not None:
            self.owner.upstream_filled(False)


class Pool:
    """The upstream connections of one proxy, idle ones by server address."""

    def __init__(
        self, streams: Callable[[], EpollSet], opener: Opener, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.streams = streams
        self._opener = opener
        self.options = Options()
        self._clock = clock
        self._spreads: dict[str, Spread] = {}
        self.connections: set[UpstreamConnection] = set()  # idle ones and busy ones
        self.opened = 0
        self._servers: Mapping[str, KeptServer] = {}
        self.resolver = ResolverConfig((), (), 1, {})
        self._idle: dict[Where, list[UpstreamConnection]] = {}
        self._connecting: set[asyncio.Task[None]] = set()

    def configure(
        self, options: Options, servers: Mapping[str, KeptServer], resolver: ResolverConfig
    ) -> None:
        """Takes new options; servers that are not in `servers` drain. `resolver` is for those that are names."""
        self.options = options
        self.resolver = resolver
        self._servers = servers
        for where in [where for where in self._idle if address_of(where) not in servers]:
            for upstream in self._idle.pop(where):
                upstream.transport.close()
        spread = {address: server for address, server in servers.items() if server.endpoints > 1}
        for address in self._spreads.keys() - spread.keys():
            del self._spreads[address]
        for address, server in spread.items():
            if address not in self._spreads:
                self._spreads[address] = Spread()
                there = sum(one.address == address for one in self.connections)
                self._spreads[address].connections = there
            most = options.upstream_keepalive
            if server.connections is not None:
                most = min(most, server.connections)
            self._spreads[address].configure(server.endpoints, most)

    def take(self, where: Where) -> UpstreamConnection | None:
        """An idle connection, if there is one."""
        idle = self._idle.get(where)
        spread = self._spreads.get(address_of(where)) if self._spreads else None
        if spread is not None:
            if spread.grows:
                return None
            if idle and spread.replaces(self._clock()):
                idle.pop(0).transport.close()
                return None
        while idle:
            upstream = idle.pop() if spread is None else idle.pop(0)
            if upstream.silent:
                return upstream
            upstream.transport.abort()
        return None

    def open(self, where: Where, seconds: float, owner: UpstreamUser) -> asyncio.Task[None]:
        """Starts a fresh connection, which may take so long; `owner` hears of it, unless the task is cancelled."""
        address = address_of(where)
        server = self._servers.get(address)
        if server is not None and server.connections is not None:
            self._make_room(server.connections, server.beside)
        task = asyncio.get_running_loop().create_task(self._opener(self, where, seconds, owner))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        if (spread := self._spreads.get(address)) is not None:
            spread.connections += 1
            task.add_done_callback(spread.tried)  # a task that is cancelled before it begins tells of nothing
        return task

    def made(self, upstream: UpstreamConnection) -> None:
        """A connection has come about."""
        self.connections.add(upstream)
        if (spread := self._spreads.get(upstream.address)) is not None:
            spread.connections += 1

    def _make_room(self, most: int, servers: tuple[str, ...]) -> None:
        """Closes idle connections so that one more may be opened to one of these servers."""
        there = sum(one.address in servers for one in self.connections)
        for where, idle in self._idle.items():
            while idle and there >= most and address_of(where) in servers:
                idle.pop(0).transport.close()
                there -= 1

    def release(self, upstream: UpstreamConnection, now: float) -> None:
        """Takes back a connection whose response ended in good order."""
        upstream.owner = None
        served = upstream.served = upstream.served + 1
        options, server = self.options, self._servers.get(upstream.address)
        idle = self._idle.get(upstream.where)
        if idle is None:
            idle = self._idle[upstream.where] = []
        if (
            server is None
            or served >= (server.requests or options.upstream_keepalive_requests)
            or len(idle) >= options.upstream_keepalive
            or upstream.transport.is_closing()
        ):
            upstream.transport.close()
            return
        upstream.idle_until = now + options.upstream_keepalive_timeout
        idle.append(upstream)

    def forget(self, upstream: UpstreamConnection) -> None:
        """A connection that ended, or became something else."""
        if upstream in self.connections:
            self.connections.discard(upstream)
            if (spread := self._spreads.get(upstream.address)) is not None:
                spread.connections -= 1
        idle = self._idle.get(upstream.where)
        if idle and upstream in idle:
            idle.remove(upstream)

    def sweep(self, now: float) -> None:
        """Closes what has been idle for too long. The oldest are in front."""
        for idle in self._idle.values():
            while idle and idle[0].idle_until <= now:
                idle.pop(0).transport.close()

    def close(self) -> None:
        """Ends every connection."""
        for task in self._connecting:
            task.cancel()
        for upstream in list(self.connections):
            upstream.transport.abort()

    def sizes(self) -> dict[str, dict[str, int]]:
        """Idle and busy connections by server address."""
        there = [one for one in self.connections if not one.transport.is_closing()]
        sizes = {one.address: {"idle": 0, "active": 0} for one in there}
        for one in there:
            sizes[one.address]["idle" if one in self._idle.get(one.where, ()) else "active"] += 1
        return sizes
