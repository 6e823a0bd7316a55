"""`scripts/bench services`: what thousands of Services cost: loading them, changing one, the packets, the memory.

* `sync`     the rules of 10,000 Services, written by emulab; the same by `nft -f`; kube-proxy's own form by `nft -f`
* `change`   one endpoint changed, up to 10,000 Services of 3 endpoints
* `large`    30,000 Services of 2: a change there, and whether the first, middle and last Service are answered
* `latency`  the first packet's latency by the number of Services, in the modes iptables and nftables; a plot of it
* `memory`   the supervisor's memory with 10,000 Services of 3 endpoints

All labs and namespaces are of its own, and go with it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import endpointchanges, latency
from benchmarks.labs import Labs, isolated
from benchmarks.plot import draw
from benchmarks.printed import show
from emulab.bench.figures import FigureRow, ratio
from emulab.errors import EmulabError

FULL_SYNC = str(Path(__file__).resolve().parent / "fullsync.py")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: numbers of Services, of endpoints of each, and of repetitions."""

    rounds: int
    sync: tuple[int, int]
    growing: tuple[int, ...]
    endpoints: int
    large: tuple[int, int]
    count: int  # changes a size
    latency: tuple[int, ...]
    connections: int  # a size and way
    memory: tuple[int, int]


FULL = Sizes(
    *(3, (10_000, 3), (1, 100, 1_000, 10_000), 3, (30_000, 2), 20),
    *((1, 100, 1_000, 5_000, 10_000), 3_000, (10_000, 3)),
)
QUICK = Sizes(3, (1_000, 3), (1, 100, 1_000), 3, (2_000, 2), 5, (1, 100, 1_000), 500, (1_000, 3))


@dataclass(slots=True)
class Report:
    """What has been found so far."""

    rows: list[FigureRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)  # for the JSON document


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench services", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only", type=_parts, default=list(PARTS), metavar="PART,…", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="of loading (default: 3); a minute each")
    parser.add_argument("--quick", action="store_true", help="a tenth of the Services")
    parser.add_argument(
        "--plot", type=Path, default=Path("services.png"), metavar="FILE", help="default: services.png"
    )
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    if os.geteuid() and {"change", "large"} & set(options.only):
        parser.error("the parts change and large listen to the nodes' kernels, which takes root")
    sizes = QUICK if options.quick else FULL
    report, failed = Report(), False
    for part in options.only:
        print(f"measuring: {part}", file=sys.stderr)
        try:
            PARTS[part](sizes, options, report)
        except (SystemExit, OSError, EmulabError, subprocess.SubprocessError) as error:
            failed = True  # what the other parts found is worth having
            report.notes.append(f"{part}: {error}")
    if report.tables and not options.output:
        print("\n".join(report.tables) + "\n")
    show(report.rows, report.notes, options.output == "json", report.more)
    return int(failed)


def _parts(text: str) -> list[str]:
    asked = text.split(",")
    if unknown := [part for part in asked if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]!r}; there are {', '.join(PARTS)}")
    return asked


def _sync(sizes: Sizes, options: argparse.Namespace, report: Report) -> None:
    services, endpoints = sizes.sync
    rounds = options.rounds or sizes.rounds
    command = [sys.executable, FULL_SYNC, *map(str, (services, endpoints, rounds))]
    done = subprocess.run(
        [*isolated(), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit("bench: loading rules failed")
    found = json.loads(done.stdout)
    title = f"{services:,} × {endpoints}"
    chains_goal = 0.1 if services >= 10_000 else None  # the form's cost grows faster than the number

    def row(what: str, key: str) -> FigureRow:
        return FigureRow(what, tuple(found[key]), "s")

    report.rows += [
        row(f"loading {title}: manifests read", "model"),
        row("  planned: the whole lab of one node", "plan"),
        row("  written into the kernel by emulab", "ours"),
        row("  the same rules by `nft -f`", "same"),
        ratio("    emulab / that", found["ours"], found["same"], 1.5),
        row("  kube-proxy's chains by `nft -f`", "chains"),
        ratio("    emulab / that", found["ours"], found["chains"], chains_goal),
    ]
    left = found["listed"]
    report.notes.append(
        f"loading: emulab's and nft's table list the same {left['same']:,} lines and elements;"
        f" kube-proxy's form has {left['chains']:,}"
    )


def _change(sizes: Sizes, options: argparse.Namespace, report: Report) -> None:
    samples: defaultdict[str, list[float]] = defaultdict(list)
    with Labs() as labs:
        endpointchanges.growing(labs, sizes.growing, sizes.endpoints, sizes.count, samples)
    _tell_changes([f"{number:,} × {sizes.endpoints}" for number in sizes.growing], samples, report)


def _large(sizes: Sizes, options: argparse.Namespace, report: Report) -> None:
    samples: defaultdict[str, list[float]] = defaultdict(list)
    with Labs() as labs:
        endpointchanges.large(labs, *sizes.large, sizes.count, samples)
    title = "{:,} × {}".format(*sizes.large)
    _tell_changes([title], samples, report)
    report.rows += [
        FigureRow(f"first, middle, last of {title}: wrong answers", tuple(samples["wrong answers"]), "", 0),
        FigureRow(f"emulab apply of {title} at once", tuple(samples[f"apply {title}"]), "s"),
        FigureRow("  supervisor's memory then, at its most", tuple(samples["memory at most"]), "MB"),
    ]


def _tell_changes(titles: Sequence[str], samples: dict[str, list[float]], report: Report) -> None:
    report.rows += endpointchanges.rows(titles, samples)
    if endpointchanges.NOTE not in report.notes:
        report.notes.append(endpointchanges.NOTE)


def _latency(sizes: Sizes, options: argparse.Namespace, report: Report) -> None:
    with Labs() as labs:
        measured = latency.measure(labs, sizes.latency, sizes.connections)
    report.rows += latency.rows(measured)
    report.tables += latency.table(measured)
    report.more["latency"] = latency.described(measured)
    report.notes += [*latency.NOTES, draw(measured, options.plot)]


def _memory(sizes: Sizes, options: argparse.Namespace, report: Report) -> None:
    services, endpoints = sizes.memory
    samples: defaultdict[str, list[float]] = defaultdict(list)
    with Labs() as labs:
        endpointchanges.memory(labs, services, endpoints, samples)
    title = f"{services:,} × {endpoints}"
    report.rows += [
        FigureRow("supervisor's memory without Services (RSS)", tuple(samples["memory before"]), "MB"),
        FigureRow(f"  with {title}", tuple(samples["memory after"]), "MB", 200),
        FigureRow("  at its most", tuple(samples["memory at most"]), "MB"),
        FigureRow("  all processes of that lab (PSS)", tuple(samples["memory of all"]), "MB"),
        FigureRow(f"emulab apply of {title} at once", tuple(samples[f"apply {title}"]), "s"),
    ]


PARTS: dict[str, Callable[[Sizes, argparse.Namespace, Report], None]] = {
    "sync": _sync,
    "change": _change,
    "large": _large,
    "latency": _latency,
    "memory": _memory,
}
