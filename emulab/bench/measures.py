"""What is measured of a way, and by which orders. The table is pure; a way is asked by its agent.

Four kinds of orders, each with what it measures: `single` requests, one after the other; many at once (`closed`) over
connections that stay, over one for each, and with large answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emulab.bench.agents import Agent, goal
from emulab.bench.processors import LabProcessors
from emulab.errors import UserError

WayFigures = Mapping[str, float]


class Measure(NamedTuple):
    """A figure of each round."""

    title: str
    unit: str
    more: bool = False  # whether more is better


MEASURES: Mapping[str, Measure] = {
    "p50": Measure("latency, p50", "µs"),
    "p90": Measure("latency, p90", "µs"),
    "p99": Measure("latency, p99", "µs"),
    "requests": Measure("requests", "1/s", True),
    "cpu": Measure("CPU a request", "µs"),
    "connections": Measure("new connections", "1/s", True),
    "new": Measure("request over a new connection, p50", "µs"),
    "throughput": Measure("throughput", "MB/s", True),
}


class OrderKind(NamedTuple):
    """A kind of orders. `every`: in each so many rounds one, `phase` says which."""

    measures: tuple[str, ...]
    every: int = 1
    phase: int = 0

    def is_due(self, number: int) -> bool:
        return number % self.every == self.phase


SINGLE, REQUESTS, NEW, BULK = "single", "requests", "new", "bulk"
KINDS: Mapping[str, OrderKind] = {
    SINGLE: OrderKind(("p50", "p90", "p99")),
    REQUESTS: OrderKind(("requests", "cpu"), 3, 0),
    NEW: OrderKind(("connections", "new"), 3, 1),
    BULK: OrderKind(("throughput",), 3, 2),
}
ALL = tuple(KINDS)

WAIT = 20.0  # seconds that a request may take: on a busy machine one may have to wait
_MOST = 100_000  # requests of an order
_MANY, _FRESH, _BULK = 16, 8, 2  # connections
_BYTES = 4 << 20


class Target(NamedTuple):
    """Where requests go. `names`: a resolver and the name that it is asked for before each request."""

    address: str
    port: int
    host: str = ""
    tls: bool = False
    names: tuple[str, ...] = ()
    connections: int = (
        1  # of single requests, in turn: where chance picks an endpoint for each, more say more
    )

    def goal(self, path: str = "/", closing: bool = False) -> Mapping[str, Any]:
        return goal(self.address, self.port, self.host, path, self.tls, closing)


async def measure(
    kind: str, agent: Agent, target: Target, seconds: float, processors: LabProcessors
) -> WayFigures:
    """The figures of one order. Raises UserError when not every request is answered."""
    bounds: dict[str, Any] = {"seconds": seconds, "most": _MOST, "wait": WAIT}
    if kind == SINGLE:
        done = await agent.ask(do="single", goal=target.goal(), **_single(target), **bounds)
        return _latencies(done["ns"])
    if kind == REQUESTS:
        before = await asyncio.to_thread(processors.total)
        done = await _closed(agent, target.goal(), _MANY, False, bounds)
        spent = await asyncio.to_thread(processors.total) - before
        return {"requests": done["requests"] / done["seconds"], "cpu": spent / 1e3 / done["requests"]}
    if kind == NEW:
        # Who answers closes first: no port of who asks is kept for a minute (TIME_WAIT).
        done = await _closed(agent, target.goal(closing=True), _FRESH, True, bounds)
        return {"connections": done["requests"] / done["seconds"], "new": _latencies(done["ns"])["p50"]}
    done = await _closed(agent, target.goal(f"/bytes/{_BYTES}"), _BULK, False, bounds)
    return {"throughput": done["octets"] / done["seconds"] / 1e6}


def _single(target: Target) -> Mapping[str, Any]:
    return {"connections": target.connections, "names": target.names}


async def _closed(
    agent: Agent, goal: Mapping[str, Any], connections: int, fresh: bool, bounds: Mapping[str, Any]
) -> dict[str, Any]:
    done = await agent.ask(do="closed", goal=goal, connections=connections, fresh=fresh, **bounds)
    if done["failures"] or not done["requests"]:
        said = ", ".join(f"{number} × {why}" for why, number in done["failures"].items())
        raise UserError(f"{goal['host']}:{goal['port']}: requests failed: {said or 'none was answered'}")
    return done


def _latencies(nanoseconds: Sequence[int]) -> WayFigures:
    ordered = sorted(nanoseconds)
    if not ordered:
        raise UserError("no request was answered in the time that a measurement has")
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    return {name: ordered[min(len(ordered) - 1, int(s * len(ordered)))] / 1e3 for name, s in shares.items()}
