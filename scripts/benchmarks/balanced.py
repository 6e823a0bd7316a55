"""Loads the sides of `scripts/bench balancer` in turn: prints their figures, as JSON.

    python -m benchmarks.balanced ROUNDS SECONDS PART,…

In a network namespace that may be spoilt. The result has, by figure and side, a value for each round; of figures that
are taken once, one value.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.balancersides import Balancer, Surroundings
from benchmarks.loads import Loaded, wrk
from benchmarks.proxied import HOST, idle_bytes
from benchmarks.sides import BIG, SMALL
from emulab.bench.processors import used
from emulab.bench.turns import order

IDLE = 5000
CLOSED = "Connection: close"
LOADS = {"small": (32, SMALL, ()), "new": (16, SMALL, (CLOSED,)), "big": (16, BIG, ())}
"""Connections, path, fields of the request."""
PARTS = (*LOADS, "idle")

Figures = dict[str, dict[str, list[float]]]


def main(rounds: int, seconds: int, parts: Sequence[str]) -> Figures:
    """Measures."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(prefix="emulab-bench-") as folder:
        Path(folder).chmod(0o755)
        surroundings = Surroundings(Path(folder))
        try:
            balancers = surroundings.set()
            for one in balancers:
                _load(one, surroundings.clients, "small", 1)
                if "idle" in parts and one.pid:  # memory that was freed is used again: it can't be seen later
                    figures["idle"][one.name].append(idle_bytes(one.pid, (one.address, 80), IDLE))
            for number in range(rounds):
                for part in [part for part in LOADS if part in parts]:
                    for one in order(balancers, number):
                        _measure(one, surroundings.clients, part, seconds, figures)
        finally:
            surroundings.strike()
    return figures


def _measure(one: Balancer, clients: Sequence[str], part: str, seconds: int, figures: Figures) -> None:
    before = used(one.pid) if one.pid else 0
    loaded = _load(one, clients, part, seconds)
    figures[part][one.name].append(loaded.rate)
    if part == "small":
        figures["small p99"][one.name].append(loaded.p99)
    if one.pid:
        spent = (used(one.pid) - before) / 1e3 / loaded.requests
        figures[f"{part} CPU"][one.name].append(spent)


def _load(one: Balancer, clients: Sequence[str], part: str, seconds: int) -> Loaded:
    connections, path, fields = LOADS[part]
    url = f"http://{one.address}{path}"
    return wrk(url, connections, seconds, f"Host: {HOST}", *fields, place=clients)


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","))))
