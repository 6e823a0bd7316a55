"""As many requests as so many connections carry, each asking again once it is answered (a closed model)."""

from __future__ import annotations

import time

from emulab.bench.inside.wires import Goal, Wire, WireHub


class _Closed:
    def __init__(self, goal: Goal, fresh: bool, end: int, most: int) -> None:
        self._goal = goal
        self._fresh = fresh
        self._end = end
        self._most = most
        self._begun = 0
        self.hub = WireHub()
        self.open = 0
        self.taken: list[int] = []
        self.octets = 0
        self.failures: dict[str, int] = {}

    def begin(self, wire: Wire) -> None:
        """Asks, unless it is over."""
        now = time.perf_counter_ns()
        if now >= self._end or self._begun >= self._most:
            wire.close()
            return
        self._begun += 1
        self.open += 1
        wire.ask(now)

    def wire(self) -> Wire:
        return Wire(self.hub, self._goal, self._ended)

    def _ended(self, wire: Wire) -> None:
        self.open -= 1
        if wire.failure or wire.answer.status != 200:
            why = wire.failure or f"status {wire.answer.status}"
            self.failures[why] = self.failures.get(why, 0) + 1
            if len(self.taken) < sum(self.failures.values()):
                self._most = 0  # nobody is loaded by failing again and again
        else:
            self.taken.append(time.perf_counter_ns() - wire.sent)
            self.octets += wire.answer.size
        if self._fresh:
            wire.close()
        self.begin(wire)


def closed(
    goal: Goal, connections: int, seconds: float, most: int, wait: float, fresh: bool
) -> dict[str, object]:
    """Requests, the seconds that they took, octets, failures and some latencies. `fresh`: a connection for each."""
    begun = time.perf_counter_ns()
    load = _Closed(goal, fresh, begun + int(seconds * 1e9), most)
    wires = [load.wire() for _ in range(connections)]
    for wire in wires:
        load.begin(wire)
    patience = begun + int((seconds + wait) * 1e9)
    while load.open and time.perf_counter_ns() < patience:
        load.hub.wait(0.05)
    taken = (time.perf_counter_ns() - begun) / 1e9
    if load.open:
        load.failures["no answer in time"] = load.open
    for wire in wires:
        wire.close()
    load.hub.close()
    return {
        "requests": len(load.taken),
        "seconds": taken,
        "octets": load.octets,
        "failures": load.failures,
        "ns": load.taken[-2000:],
    }
