"""`scripts/bench peers`: what `emulab bench` says of a way beside wrk, sockperf and iperf3, which take turns with it.

Each asks the same pods from the same pod, pinned to the same processor. What they agree on isn't a whole latency, of
which the programs' own time is a part, but what a layer adds to it: the differences of one round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any, NamedTuple

from benchmarks.printed import show
from emulab.bench import worlds
from emulab.bench.figures import FigureRow, ratio
from emulab.bench.measures import BULK, SINGLE, Target, measure
from emulab.bench.processors import pinned, shares
from emulab.bench.stage import Stage, stages
from emulab.bench.turns import order
from emulab.errors import EmulabError

EMULAB, WRK, SOCKPERF, IPERF = "emulab", "wrk", "sockperf", "iperf3"
LATENCY, THROUGHPUT = (EMULAB, WRK, SOCKPERF), (EMULAB, IPERF)
SOCKPERF_PORT, IPERF_PORT = 11111, 5201
ROUTED, VXLAN = "routed", "vxlan"
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}
NOTES = (
    "latency: the median of round trips over one TCP connection that stays; adds: to that of the way above, by round",
    "throughput: of two connections, one way; iperf3 sends from who asks, emulab's answerer to it",
    "wrk and emulab ask for a page by HTTP, sockperf for its own 64 bytes",
)


class Way(NamedTuple):
    """From a pod to a pod, in the lab of a mode."""

    name: str
    mode: str
    source: str
    target: str  # "": the pod itself, by its loopback


WAYS = (
    Way("loopback", ROUTED, worlds.NEAR, ""),
    Way("pod of this node", ROUTED, worlds.FROM, worlds.NEAR),
    Way("pod of another node", ROUTED, worlds.FROM, worlds.FAR),
    Way("by VXLAN", VXLAN, worlds.FROM, worlds.FAR),
)


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="(default: 12)")
    parser.add_argument("--quick", action="store_true", help="four rounds")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    rows = asyncio.run(_measured(4 if options.quick else options.rounds))
    show(rows, NOTES, options.output == "json")
    return 0


async def _measured(rounds: int) -> list[FigureRow]:
    processors = shares(sorted(os.sched_getaffinity(0)))
    texts = {mode: worlds.world((), {"network": {"mode": mode}}) for mode in (ROUTED, VXLAN)}
    samples: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    with pinned(processors.labs):
        async with stages(texts, processors, 60.0, lambda _what, _share: None) as (labs, _), _serving(labs):
            asking = Asking(labs, processors.asking[0])
            turns = [(way, "latency", who) for way in WAYS for who in LATENCY]
            turns += [(way, "throughput", who) for way in WAYS for who in THROUGHPUT]
            for number in range(rounds):
                for way, what, who in order(turns, number):
                    samples[way.name, what, who].append(await asking.ask(way, what, who))
    return _rows(samples)


@asynccontextmanager
async def _serving(labs: Mapping[str, Stage]) -> Any:
    """The peers' servers, in every pod that is asked; they end with the block, at the latest with their lab."""
    async with AsyncExitStack() as ending:
        for stage in labs.values():
            for pod in (worlds.NEAR, worlds.FAR):
                for argv in (
                    (SOCKPERF, "server", "--tcp", "-i", "0.0.0.0", "-p", str(SOCKPERF_PORT)),
                    (IPERF, "-s", "-p", str(IPERF_PORT)),
                ):
                    task = asyncio.create_task(stage.lab.exec(f"pod/{pod}", *argv))
                    ending.callback(task.cancel)
        await asyncio.sleep(1.0)  # a server that isn't there makes its client fail, which is said
        yield


class Asking:
    """Gives the orders."""

    def __init__(self, labs: Mapping[str, Stage], processor: int) -> None:
        self._labs = labs
        self._pinned = ("taskset", "-c", str(processor))

    async def ask(self, way: Way, what: str, who: str) -> float:
        """Microseconds, or MB a second. Raises EmulabError when a program fails."""
        stage = self._labs[way.mode]
        address = stage.address("Pod", way.target) if way.target else "127.0.0.1"
        if who == EMULAB:
            kind, name = (SINGLE, "p50") if what == "latency" else (BULK, "throughput")
            agent = await stage.agent(f"pod/{way.source}")
            figures = await measure(kind, agent, Target(address, worlds.PORT), 1.0, stage.processors)
            return figures[name]
        return await _PEERS[who](self, stage, way, address)

    async def _wrk(self, stage: Stage, way: Way, address: str) -> float:
        url = f"http://{address}:{worlds.PORT}/"
        said = await self._output(stage, way, WRK, "-t1", "-c1", "-d1s", "--latency", url)
        found = re.search(r"50% +([0-9.]+)(us|ms|s)", said)
        return float(found[1]) * UNITS[found[2]] if found else _nothing(WRK, said)

    async def _sockperf(self, stage: Stage, way: Way, address: str) -> float:
        words = ("-i", address, "-p", str(SOCKPERF_PORT), "-t", "1", "-m", "64", "--full-rtt")
        said = await self._output(stage, way, SOCKPERF, "ping-pong", "--tcp", *words)
        found = re.search(r"percentile 50\.0+ = +([0-9.]+)", said)
        return float(found[1]) if found else _nothing(SOCKPERF, said)

    async def _iperf(self, stage: Stage, way: Way, address: str) -> float:
        said = await self._output(
            stage, way, IPERF, "-c", address, "-p", str(IPERF_PORT), "-t", "1", "-P", "2", "-J"
        )
        return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 8e6

    async def _output(self, stage: Stage, way: Way, *argv: str) -> str:
        done = await stage.lab.exec(f"pod/{way.source}", *self._pinned, *argv)
        said = done.stdout.decode(errors="replace")
        return said if done.status == 0 else _nothing(argv[0], said + done.stderr.decode(errors="replace"))


_PEERS: Mapping[str, Callable[[Asking, Stage, Way, str], Awaitable[float]]] = {
    WRK: Asking._wrk,
    SOCKPERF: Asking._sockperf,
    IPERF: Asking._iperf,
}


def _nothing(program: str, said: str) -> Any:
    raise EmulabError(f"{program} said nothing that can be used: {said[-400:]}")


def _rows(samples: Mapping[tuple[str, str, str], Sequence[float]]) -> list[FigureRow]:
    rows: list[FigureRow] = []
    for way in WAYS:
        rows += [
            FigureRow(f"{way.name}: latency, {who}", tuple(samples[way.name, "latency", who]), "µs")
            for who in LATENCY
        ]
    for lower, upper in pairwise(WAYS):
        for who in LATENCY:
            above, below = (samples[one.name, "latency", who] for one in (upper, lower))
            steps = tuple(a - b for a, b in zip(above, below, strict=True))
            rows.append(FigureRow(f"{upper.name} adds, {who}", steps, "µs"))
    for way in WAYS:
        rows += [
            FigureRow(f"{way.name}: throughput, {who}", tuple(samples[way.name, "throughput", who]), "MB/s")
            for who in THROUGHPUT
        ]
    last, before = WAYS[-1].name, WAYS[-2].name
    rows += [
        ratio(f"VXLAN / routes, {who}", samples[last, "throughput", who], samples[before, "throughput", who])
        for who in THROUGHPUT
    ]
    return rows
