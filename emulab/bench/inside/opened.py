"""Requests that come when they are due, whatever became of those before them (an open model).

Latencies are counted from when a request was due, and beside that from when it was sent. Where every connection that
may be is busy, a request waits here, and that wait is part of its latency.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from emulab.bench.arrivals import due
from emulab.bench.histogram import HdrHistogram
from emulab.bench.inside.wires import Goal, Wire, WireHub

TELLING = 1.0  # seconds of a piece
_LONGEST = 0.05  # seconds of one wait


class Piece:
    """What came of the requests that were answered in one second."""

    def __init__(self) -> None:
        self.due = HdrHistogram()  # µs since a request was due …
        self.sent = HdrHistogram()  # … and since it was sent
        self.lag = HdrHistogram()  # µs by which the asker itself was late, though a connection was free
        self.failures: dict[str, int] = {}
        self.octets = 0

    def fail(self, why: str, count: int = 1) -> None:
        self.failures[why] = self.failures.get(why, 0) + count

    def to_json(self, number: int, waiting: int, connections: int) -> dict[str, object]:
        return {
            "second": number,
            "due": self.due.to_json(),
            "sent": self.sent.to_json(),
            "lag": self.lag.to_json(),
            "failures": self.failures,
            "octets": self.octets,
            "waiting": waiting,
            "connections": connections,
        }


class _Open:
    def __init__(self, goal: Goal, most: int, fresh: bool) -> None:
        self._goal = goal
        self._most = most
        self._fresh = fresh
        self.hub = WireHub()
        self.waiting: deque[int] = deque()
        self.idle: list[Wire] = []
        self.wires: list[Wire] = []
        self.piece = Piece()

    @property
    def busy(self) -> int:
        return len(self.wires) - len(self.idle)

    def come(self, at: int) -> None:
        """A request is due."""
        if self.busy < self._most:
            self.piece.lag.record(max(0, time.perf_counter_ns() - at) // 1000)
        self.waiting.append(at)
        self.send()

    def send(self) -> None:
        while self.waiting and self.busy < self._most:
            if not self.idle:
                wire = Wire(self.hub, self._goal, self._ended)
                self.wires.append(wire)
            else:
                wire = self.idle.pop()
            wire.ask(self.waiting.popleft())

    def _ended(self, wire: Wire) -> None:
        now = time.perf_counter_ns()
        if wire.failure or wire.answer.status >= 400:
            self.piece.fail(wire.failure or f"status {wire.answer.status}")
        else:
            self.piece.due.record((now - wire.due) // 1000)
            self.piece.sent.record((now - wire.sent) // 1000)
            self.piece.octets += wire.answer.size
        if self._fresh:
            wire.close()
        self.idle.append(wire)


def opened(
    goal: Goal,
    rate: float,
    seconds: float,
    connections: int,
    wait: float,
    fresh: bool,
    arrivals: str,
    seed: int,
    tell: Callable[[dict[str, object]], None],
) -> dict[str, object]:
    """Tells a piece each second, and at the end how many requests were due."""
    load = _Open(goal, connections, fresh)
    coming = due(rate, seconds, arrivals, seed)
    begun = time.perf_counter_ns()
    number, told, following = 0, 0, next(coming, None)
    end = begun + int((seconds + wait) * 1e9)
    while following is not None or load.busy or load.waiting:
        now = time.perf_counter_ns()
        if now >= end:
            break
        while following is not None and begun + following * 1e9 <= now:
            number += 1
            load.come(begun + int(following * 1e9))
            following = next(coming, None)
        load.send()
        if now >= begun + (told + 1) * TELLING * 1e9:
            tell(load.piece.to_json(told, len(load.waiting), load.busy))
            load.piece, told = Piece(), told + 1
        ahead = (
            (begun + following * 1e9 - time.perf_counter_ns()) / 1e9 if following is not None else _LONGEST
        )
        load.hub.wait(min(max(ahead, 0.0), _LONGEST))
    if left := load.busy + len(load.waiting):
        load.piece.fail("no answer in time", left)
    tell(load.piece.to_json(told, len(load.waiting), load.busy))
    for wire in load.wires:
        wire.close()
    load.hub.close()
    return {"requests": number, "seconds": (time.perf_counter_ns() - begun) / 1e9}
