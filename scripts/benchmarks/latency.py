"""The scaling result that kube-proxy's nftables mode was made for: the first packet's latency by number of Services.

Two labs of one node live side by side, one a proxy mode, and grow together. At each size a client pod connects to
random Services whose endpoints are on the same node, and to these endpoints directly, in short blocks that take turns:
a slow moment of the machine hits all alike. The floor is the direct way in nftables mode; in iptables mode, too, every
new connection walks through the rules of all Services, whatever it is to.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from benchmarks.labs import Labs
from benchmarks.many import PORT, TARGET, cluster_text, many, pod_text, text
from emulab.bench.figures import FigureRow
from emulab.bench.figures import number as digits
from emulab.bench.turns import order

PROGRAM = str(Path(__file__).resolve().parent / "connects.py")
MODES = ("iptables", "nftables")
SERVERS = ("server0", "server1", "server2")
ENDPOINTS = 3  # of a Service
BLOCK = 100  # connections in a row
NOTES = (
    "latency: connect() to a random Service from a pod of the node that has its endpoints, a fresh connection each;"
    " p99 is mostly about who else ran on this CPU",
    "published p50 (kubernetes.io, 2025; the packet alone): iptables 49, 61, 274 µs at 5,000, 10,000, 30,000 Services,"
    " nftables about 14 µs at any number",
)


class Way(NamedTuple):
    """Where connections go in one of the labs."""

    mode: str
    direct: bool  # to an endpoint's address, not to a Service

    @property
    def title(self) -> str:
        return f"{self.mode}, no Service" if self.direct else self.mode


WAYS = tuple(Way(mode, direct) for direct in (False, True) for mode in MODES)
FLOOR = Way("nftables", True)


class Measured(NamedTuple):
    """Microseconds of one way at one size."""

    way: Way
    services: int
    samples: tuple[float, ...]

    def percentile(self, percent: int) -> float:
        return quantiles(self.samples, n=100)[percent - 1]


def measure(labs: Labs, sizes: Sequence[int], count: int) -> list[Measured]:
    """`count` connections a size and way."""
    found: list[Measured] = []
    with ExitStack() as stack:
        askers = {mode: stack.enter_context(_lab(labs, mode)) for mode in MODES}
        there = 0
        for size in sizes:
            for asker in askers.values():
                asker.grow(there, size)
            there = size
            time.sleep(1)
            samples: dict[Way, list[float]] = {way: [] for way in WAYS}
            for number in range(max(1, count // BLOCK)):
                for way in order(WAYS, number):
                    samples[way] += askers[way.mode].connect(BLOCK, way.direct)
            found += [Measured(way, size, tuple(s)) for way, s in samples.items()]
    for mode in MODES:
        labs.command("-l", mode, "down")
    return found


class _Asker:
    """A lab and the program in its client pod that connects: one for Services, one for the endpoints themselves."""

    def __init__(self, labs: Labs, mode: str, programs: tuple[subprocess.Popen[str], ...]) -> None:
        self._labs = labs
        self._mode = mode
        self._programs = programs
        pods = json.loads(labs.command("-l", mode, "get", "pods", "-o", "json")[1])["items"]
        addresses = {p["metadata"]["name"]: p["status"]["podIP"] for p in pods}
        self._pods = [addresses[name] for name in SERVERS]
        self._say(True, "targets", *(f"{address}:{TARGET}" for address in self._pods))

    def grow(self, there: int, size: int) -> None:
        """Makes the lab larger, by applying the Services that are not there yet."""
        services = many(size, ENDPOINTS, self._pods)
        path = self._labs.write(f"{self._mode}-{size}.yaml", text(services[there:]))
        seconds, _ = self._labs.command("-l", self._mode, "apply", "-f", path)
        print(f"{self._mode}: {size - there} more Services in {seconds:.1f} s", file=sys.stderr)
        self._say(False, "targets", *(f"{s.address}:{PORT}" for s in services))

    def connect(self, count: int, direct: bool) -> list[float]:
        """Microseconds of so many connections."""
        return [int(word) / 1e3 for word in self._say(direct, "connect", str(count)).split()]

    def _say(self, direct: bool, *words: str) -> str:
        program = self._programs[direct]
        assert program.stdin is not None and program.stdout is not None
        program.stdin.write(" ".join(words) + "\n")
        program.stdin.flush()
        answer = program.stdout.readline()
        if not answer:
            sys.exit(f"bench: the connecting program in lab {self._mode} has ended")
        return answer


@contextmanager
def _lab(labs: Labs, mode: str) -> Iterator[_Asker]:
    command = json.dumps([sys.executable, PROGRAM, "serve", str(TARGET)])
    pods = [pod_text(name, "node1", command) for name in SERVERS]
    asking = [pod_text(name, "node1") for name in ("services", "endpoints")]
    labs.command(
        *("-l", mode, "up", labs.write(f"{mode}.yaml", "---\n".join([cluster_text(1, mode), *pods, *asking])))
    )
    with ExitStack() as stack:
        programs = []
        for name in ("services", "endpoints"):
            ask = labs.arguments("-l", mode, "exec", f"pod/{name}", "--", sys.executable, PROGRAM, "ask")
            programs.append(stack.enter_context(labs.talk(ask)))
        yield _Asker(labs, mode, (programs[0], programs[1]))


def rows(measured: Sequence[Measured]) -> list[FigureRow]:
    """What is to be compared."""
    medians: dict[Way, list[float]] = {way: [] for way in WAYS}
    for m in measured:
        medians[m.way].append(m.percentile(50))
    services = {mode: medians[Way(mode, False)] for mode in MODES}
    floor = medians[FLOOR]
    above = [s / f for s, f in zip(services["nftables"], floor, strict=True)]
    largest = max(m.services for m in measured)

    def spread(what: str, values: Sequence[float], goal: float | None = None) -> FigureRow:
        return FigureRow(what, (max(values) / min(values),), "ratio", goal)

    return [
        spread("nftables: largest p50 / smallest p50", services["nftables"], 1.2),
        spread("  the same, each divided by its floor", above),
        spread("  the floor's own, over the same time", floor),
        spread("iptables: largest p50 / smallest p50", services["iptables"]),
        FigureRow(
            f"iptables / nftables, p50 at {largest:,}",
            (services["iptables"][-1] / services["nftables"][-1],),
            "ratio",
        ),
    ]


def table(measured: Sequence[Measured]) -> list[str]:
    """All figures: a line a size and way."""
    lines = [f"{'Services':>8}  {'mode':21} {'p50':>7} {'p90':>7} {'p99':>7}  µs"]
    for m in sorted(measured, key=lambda m: (m.services, WAYS.index(m.way))):
        figures = " ".join(f"{digits(m.percentile(p)):>7}" for p in (50, 90, 99))
        lines.append(f"{m.services:>8,}  {m.way.title:21} {figures}")
    return lines


def described(measured: Sequence[Measured]) -> list[Mapping[str, Any]]:
    """The same for programs."""
    return [
        {
            "mode": m.way.mode,
            "direct": m.way.direct,
            "services": m.services,
            "unit": "µs",
            **{f"p{p}": m.percentile(p) for p in (50, 90, 99)},
        }
        for m in measured
    ]
