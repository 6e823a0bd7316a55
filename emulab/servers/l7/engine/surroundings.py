"""What the machines of one proxy share and their shell gives them: the configuration, counters, and outside knowledge.

Pure but for its sources, which a test replaces: the Date line, request ids, whether anybody listens, the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from emulab.servers.l7.engine.counters import Counters
from emulab.servers.l7.engine.entry import Measured
from emulab.servers.l7.engine.kept import EngineMemory
from emulab.servers.l7.engine.snapshot import Snapshot


class Audience(Protocol):
    """Who hears what is told."""

    @property
    def wanted(self) -> bool:
        """Whether anyone listens."""


class AccessLog(Protocol):
    """What is known of the log of requests (`emulab.servers.journal`): lines themselves are commands."""

    missed: Counter[str]

    @property
    def room(self) -> int:
        """Lines that it takes now."""

    def takes(self, log: str) -> bool:
        """Whether it takes one more; if not, the request is counted."""


class EngineSurroundings:
    """What all connections of a proxy share. `snapshot` is replaced whole when the configuration changes."""

    def __init__(
        self,
        snapshot: Snapshot,
        audience: Audience,
        date: Callable[[], bytes],
        request_id: Callable[[], bytes],
        log: AccessLog,
        unix_time: Callable[[], float],
        secret: bytes = b"",
    ) -> None:
        """`audience` is asked for `wanted` alone: what there is to tell is a command.

        `date` makes the Date line for now, `request_id` 32 random hexadecimal digits, `unix_time` the seconds
        since 1970. `secret` is random, and of this process alone.
        """
        self.snapshot = snapshot
        self.audience = audience
        self.date = date
        self.request_id = request_id
        self.log = log
        self.unix_time = unix_time
        self.measure: Callable[[Measured], None] | None = None  # who counts the requests that are over
        self.counters = Counters()
        self.draw: Callable[[int], int] = self._drawn  # one of so many, from 0
        self.ending = False  # whether it will close soon, so that clients had better go elsewhere
        self.kept = EngineMemory(secret)
        self.closing = False  # whether no connection is to outlive its request

    def _drawn(self, among: int) -> int:
        return int(self.request_id()[:12], 16) % among
