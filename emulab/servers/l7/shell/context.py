"""What the shells of one proxy share: the machines' surroundings, the pool, the clock, and who is there."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from emulab.servers.accesslog import OWN
from emulab.servers.base import Emit, socket_name
from emulab.servers.journal import Journal
from emulab.servers.l7.engine.snapshot import Snapshot
from emulab.servers.l7.engine.surroundings import EngineSurroundings
from emulab.servers.l7.shell.fresh import DateLine, RequestIds
from emulab.servers.l7.shell.mirrors import Mirrors
from emulab.servers.l7.shell.opening import open_upstream
from emulab.servers.l7.shell.outbox import Outbox
from emulab.servers.l7.shell.tls import CertificateStore
from emulab.servers.l7.shell.upstream import Pool
from emulab.servers.streams.epollset import EpollSet


class Accepted(Protocol):
    """A connection from a client, as the server sees it."""

    @property
    def deadline(self) -> float: ...
    @property
    def waits(self) -> bool:
        """Whether it is idle, between two requests."""

    def expire(self, now: float) -> None: ...
    def shutdown(self) -> None: ...
    def abort(self) -> None: ...


class Tunnelled(Protocol):
    """A tunnel, as the server sees it."""

    @property
    def deadline(self) -> float: ...
    def expire(self, now: float) -> None: ...
    def abort(self) -> None: ...


class Context:
    """Shared by all connections."""

    def __init__(self, emit: Emit, snapshot: Snapshot) -> None:
        self.emit = emit
        self.journal = Journal(single=True)
        self.surroundings = EngineSurroundings(
            snapshot,
            emit,
            DateLine(time.time).now,
            RequestIds().draw,
            self.journal,
            time.time,
            os.urandom(32),
        )
        self.certificates = CertificateStore(lambda message: emit({"event": "error", "message": message}))
        self.clock: Callable[[], float] = time.monotonic
        self.pool = Pool(self.streams, open_upstream, lambda: self.clock())
        self.mirrors = Mirrors()
        self.outbox = Outbox()
        self._streams: EpollSet | None = None
        self.clients: set[Accepted] = set()
        self.tunnels: set[Tunnelled] = set()
        self.empty = asyncio.Event()

    def streams(self) -> EpollSet:
        """The sockets of all connections; in the running event loop, in which all of them are."""
        if self._streams is None:
            self._streams = self.outbox.streams = EpollSet()
            self._streams.at_end = self.outbox.flush
        return self._streams

    def refused(self, client: socket.socket, why: str) -> None:
        """A connection is closed before anything was read of it: it had no PROXY header."""
        with suppress(OSError):
            ends = client.getpeername(), client.getsockname()
            names = [socket_name(end) for end in ends]
            if self.journal.takes(OWN):
                when = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime())
                line = f"{when} [error] broken header: {why}, client: {ends[0][0]}, server: {names[1]}"
                self.journal.write(OWN, line)
            if self.emit.wanted:
                self.emit({"event": "proxy-header", "client": names[0], "local": names[1], "reason": why})

    def left(self) -> None:
        """A client or a tunnel is gone."""
        if self.surroundings.closing and not self.clients and not self.tunnels:
            self.empty.set()

    def sweep(self) -> None:
        """Ends what is overdue. One pass for all replaces a timer for each request."""
        now = self.clock()
        for client in [one for one in self.clients if one.deadline <= now]:
            client.expire(now)
        for tunnel in [one for one in self.tunnels if one.deadline <= now]:
            tunnel.expire(now)
        self.pool.sweep(now)
