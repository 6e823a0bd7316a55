"""What a server tells, kept in its own process for those who record it.

Rules:

* A record is kept, not sent: a message for each would cost the request that is watched, and wake the
  supervisor in the middle of it. `ALWAYS` events are sent at once as well, whether anyone records or not.
* Recordings may overlap. A recorder is a number of the caller's choice, and is given the records since it
  began; what no recorder has any right to is forgotten, so the end of the last one frees everything.
* Room is bounded. The oldest records make room for new ones, and each recorder is told how many it lost.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

ALWAYS = frozenset({"bgp", "corefile", "health", "outlier", "vrrp", "error", "exit"})
"""Events that are told even when nobody records."""
ROOM = 50_000
"""Records that are kept; some 40 MB at most."""


class Records:
    """Implements `base.Emit`. `clock` gives nanoseconds of CLOCK_REALTIME, as packet taps have them."""

    __slots__ = ("_begun", "_clock", "_kept", "_send", "_told", "began", "wanted")

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        room: int = ROOM,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.wanted = False
        self._send = send
        self._clock = clock
        self._kept: deque[dict[str, Any]] = deque(maxlen=room)
        self._told = 0  # records so far, those included that are forgotten
        self._begun: dict[int, int] = {}  # recorder → `_told` when it began
        self.began: dict[int, int] = {}  # recorder → when that was, by the clock

    def __call__(self, record: dict[str, Any]) -> None:
        """Sends and keeps a record, each if it is due. One that knows its `time` better keeps that."""
        if record["event"] in ALWAYS:
            self._send(record)
        if self.wanted:
            record.setdefault("time", self._clock())
            self._kept.append(record)
            self._told += 1

    def record(self, recorders: Iterable[int]) -> None:
        """Says who records from now on, whole: a new number begins here, one left out has ended."""
        self._begun = {number: self._begun.get(number, self._told) for number in recorders}
        self.began = {number: self.began.get(number) or self._clock() for number in self._begun}
        self.wanted = bool(self._begun)
        due = self._told - min(self._begun.values(), default=self._told)
        while len(self._kept) > due:
            self._kept.popleft()

    def since(self, recorder: int) -> tuple[list[dict[str, Any]], int]:
        """The records since a recorder began, and how many of them found no room. An unknown one has none."""
        due = self._told - self._begun.get(recorder, self._told)
        kept = list(islice(self._kept, max(0, len(self._kept) - due), None))
        return kept, due - len(kept)
