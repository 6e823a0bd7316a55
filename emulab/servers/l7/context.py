"""What the connections of one proxy share: configuration, pool, counters, clock, and who is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from random import Random
from typing import Protocol

from emulab.dataclass import dataclass
from emulab.servers.base import Emit
from emulab.servers.l7.config import Snapshot
from emulab.servers.l7.headers import DateLine
from emulab.servers.l7.tls import CertificateStore
from emulab.servers.l7.upstream import Pool


@dataclass(slots=True)
class Counters:
    """Totals since the start."""

    accepted: int = 0
    requests: int = 0
    connects: int = 0
    reused: int = 0
    retries: int = 0
    errors: int = 0
    upgrades: int = 0

    def as_dict(self) -> dict[str, int]:
        """The totals by name."""
        return asdict(self)


class Client(Protocol):
    """A connection from a client, as the server sees it."""

    deadline: float

    def expire(self, now: float) -> None: ...
    def shutdown(self) -> None: ...
    def abort(self) -> None: ...


class Tunnelled(Protocol):
    """A tunnel, as the server sees it."""

    deadline: float

    def expire(self, now: float) -> None: ...
    def abort(self) -> None: ...


class Context:
    """Shared by all connections; the server replaces `snapshot` when the configuration changes."""

    def __init__(self, emit: Emit, snapshot: Snapshot) -> None:
        self.emit = emit
        self.snapshot = snapshot
        self.certificates = CertificateStore(lambda message: emit({"event": "error", "message": message}))
        self.clock: Callable[[], float] = time.monotonic
        self.counters = Counters()
        self.pool = Pool(self.clock)
        self.clients: set[Client] = set()
        self.tunnels: set[Tunnelled] = set()
        self.closing = False
        self.empty = asyncio.Event()
        self._date = DateLine()
        self._bits = Random().getrandbits

    def date(self) -> bytes:
        """The Date line for now."""
        return self._date.at(time.time())

    def request_id(self) -> bytes:
        """32 random hexadecimal digits, as nginx's `$request_id`."""
        return b"%032x" % self._bits(128)

    def left(self) -> None:
        """A client or a tunnel is gone."""
        if self.closing and not self.clients and not self.tunnels:
            self.empty.set()

    def sweep(self) -> None:
        """Ends what is overdue. One pass for all replaces a timer for each request."""
        now = self.clock()
        for client in [one for one in self.clients if one.deadline <= now]:
            client.expire(now)
        for tunnel in [one for one in self.tunnels if one.deadline <= now]:
            tunnel.expire(now)
        self.pool.sweep(now)
