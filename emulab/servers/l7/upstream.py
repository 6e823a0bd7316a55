"""Connections to upstream servers and the pool that keeps them.

Rules:

* A connection serves one request at a time and belongs to its `owner` meanwhile; idle ones wait in the
  pool, the one used last goes out first.
* Whatever an idle connection receives ends it: an end of stream, or bytes that nobody asked for. What the kernel
  has received and the loop hasn't told yet counts too: read after the next request was sent, it would be taken
  for the answer.
* A server that is no longer configured drains: its idle connections close at once, the others when
  their request is through.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable
from typing import Any, Protocol, cast

from emulab.errors import EmulabError, PeerError
from emulab.servers.l7.config import Options, parse_address
from emulab.servers.l7.response import ResponseReader
from emulab.servers.stub import ResolverConfig, resolve


class Owner(Protocol):
    """What a request's side of the proxy hears from its upstream."""

    def connected(self, upstream: Upstream) -> None: ...
    def connect_failed(self, why: str, timed_out: bool) -> None: ...
    def response_progress(self, upstream: Upstream) -> None: ...
    def upstream_lost(self, upstream: Upstream, why: str, retry: bool) -> None: ...
    def upstream_flow(self) -> None: ...


class Upstream(asyncio.Protocol):
    """One connection to one server."""

    __slots__ = (
        "_poll",
        "address",
        "idle_until",
        "owner",
        "pool",
        "reader",
        "reused",
        "source",
        "touched",
        "transport",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(self, pool: Pool, address: str) -> None:
        self.pool = pool
        self.address = address
        self.owner: Owner | None = None
        self.reader = ResponseReader()
        self.reused = False
        self.touched = False  # whether a byte of the response has come
        self.write_paused = False
        self.idle_until = 0.0
        self.source = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.source = format_address(transport.get_extra_info("sockname"))
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.pool.active.add(self)

    @property
    def silent(self) -> bool:
        """Whether the server has sent nothing that isn't read, and hasn't closed."""
        return not self.transport.is_closing() and not self._poll.poll(0)

    def send(self, owner: Owner, data: bytes, head_only: bool) -> None:
        """Starts a request with its first bytes."""
        self.owner = owner
        self.touched = False
        self.reader.begin(head_only)
        self.transport.write(data)

    def drop(self) -> None:
        """Ends the connection at once; its owner hears no more of it."""
        self.owner = None
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        owner = self.owner
        if owner is None:
            self.transport.abort()
            return
        self.touched = True
        try:
            self.reader.feed(data, self.pool.options.response_head_max)
        except PeerError as error:
            self.drop()
            owner.upstream_lost(self, f"upstream's answer is malformed: {error}", False)
            return
        owner.response_progress(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        owner, self.owner = self.owner, None
        if owner is None:
            return
        if exc is None and self.reader.eof():
            owner.response_progress(self)
        else:
            how = "ended" if exc is None else "reset"
            when = "in its answer" if self.touched else "before it answered"
            owner.upstream_lost(self, f"upstream {how} the connection {when}", not self.touched)

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.owner is not None:
            self.owner.upstream_flow()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.owner is not None:
            self.owner.upstream_flow()


class Pool:
    """The upstream connections of one proxy, idle ones by server address."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.options = Options()
        self.active: set[Upstream] = set()
        self.opened = 0
        self._clock = clock
        self._addresses: frozenset[str] = frozenset()
        self._resolver = ResolverConfig((), (), 1, {})
        self._idle: dict[str, list[Upstream]] = {}
        self._connecting: set[asyncio.Task[None]] = set()

    def configure(self, options: Options, addresses: frozenset[str], resolver: ResolverConfig) -> None:
        """Takes new options; servers that are not in `addresses` drain. `resolver` is for those that are names."""
        self.options = options
        self._resolver = resolver
        self._addresses = addresses
        for address in [address for address in self._idle if address not in addresses]:
            for upstream in self._idle.pop(address):
                upstream.transport.close()

    def take(self, address: str) -> Upstream | None:
        """An idle connection to `address`, if there is one."""
        idle = self._idle.get(address)
        while idle:
            upstream = idle.pop()
            if upstream.silent:
                self.active.add(upstream)
                upstream.reused = True
                return upstream
            upstream.transport.abort()
        return None

    def open(self, address: str, owner: Owner) -> asyncio.Task[None]:
        """Starts a fresh connection; `owner` hears how it went, unless the task is cancelled."""
        task = asyncio.get_running_loop().create_task(self._open(address, owner))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    async def _open(self, address: str, owner: Owner) -> None:
        host, port = parse_address(address)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.options.connect_timeout):
                found = await resolve(host, self._resolver, _open_socket)
                _, upstream = await loop.create_connection(lambda: Upstream(self, address), found, port)
        except TimeoutError:
            seconds = self.options.connect_timeout
            owner.connect_failed(f"upstream timed out: no connection within {seconds:g} s", True)
        except ConnectionRefusedError:
            owner.connect_failed("upstream refused the connection", False)
        except EmulabError as error:  # a name without an address
            owner.connect_failed(f"upstream can't be reached: {error}", False)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            owner.connect_failed(f"upstream can't be reached: {why}", False)
        else:
            self.opened += 1
            owner.connected(upstream)

    def release(self, upstream: Upstream) -> None:
        """Takes back a connection whose response ended in good order."""
        upstream.owner = None
        self.active.discard(upstream)
        idle = self._idle.setdefault(upstream.address, [])
        full = len(idle) >= self.options.upstream_keepalive
        if full or upstream.address not in self._addresses or upstream.transport.is_closing():
            upstream.transport.close()
            return
        upstream.idle_until = self._clock() + self.options.upstream_keepalive_timeout
        idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """A connection that ended, or became something else."""
        self.active.discard(upstream)
        idle = self._idle.get(upstream.address)
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
        for upstream in [*self.active, *(one for idle in self._idle.values() for one in idle)]:
            upstream.transport.abort()

    def sizes(self) -> dict[str, dict[str, int]]:
        """Idle and busy connections by server address."""
        sizes = {address: {"idle": len(idle), "active": 0} for address, idle in self._idle.items()}
        for upstream in self.active:
            sizes.setdefault(upstream.address, {"idle": 0, "active": 0})["active"] += 1
        return {address: size for address, size in sizes.items() if size["idle"] or size["active"]}


async def _open_socket(family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock


def format_address(name: Any) -> str:
    """A socket name as `10.0.0.1:80` or `[fd00::1]:80`."""
    if not name:
        return ""
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
