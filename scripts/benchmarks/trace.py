"""`scripts/bench trace`: what watching a request costs: the one who asks, the request, the lab, and everybody else.

All in topologies/shop.yaml. The same client sends the same request from sockets of the same place, traced and
untraced, taking turns; names are resolved each time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

from benchmarks.labs import ROOT, Labs
from benchmarks.printed import show
from emulab.bench.figures import FigureRow, ratio
from emulab.bench.turns import order

SHOP = str(ROOT / "topologies/shop.yaml")
URL = "http://shop.example.com/products/42"
LAB = "default"
SOURCE: dict[str, Any] = {"target": "client", "namespace": "default"}
WRK = ("wrk", "-t1", "-c8", "-d1s", URL)
SETTLING = 100  # traces until caches and pools are as large as they get


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench trace", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--repeats", type=int, default=25, metavar="N", help="requests of each kind (default: 25)"
    )
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="rounds of wrk (default: 15)")
    parser.add_argument("--traces", type=int, default=200, metavar="N", help="traces in a row (default: 200)")
    parser.add_argument("--quick", action="store_true", help="few of everything")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    if options.quick:
        options.repeats, options.rounds, options.traces = 5, 3, 30
    samples: defaultdict[str, list[float]] = defaultdict(list)
    with Labs() as labs:
        _bystanders(labs, options.rounds, samples)
        os.environ["EMULAB_RUN_DIR"] = str(labs.folder)
        labs.command("up", SHOP)
        _requests(labs.folder / LAB, options.repeats, samples)
        for _ in range(options.repeats):
            samples["command"].append(labs.command("trace", URL)[0] * 1e3)
        _many(labs, options.traces, samples)
    show(_rows(samples, options.traces), _notes(samples), options.output == "json")
    return 0


def _requests(folder: Path, repeats: int, samples: dict[str, list[float]]) -> None:
    """The same request, untraced and traced in turn; and how long all of a trace takes."""
    from emulab.trace.tracing import TracedRequest, trace

    def traced() -> float:
        sending = TracedRequest(LAB, URL, "client", "default", "GET", {}, 5.0, True).record()[0].sending
        return (sending.ended - sending.begun) / 1e3

    ways: dict[str, Callable[[], float]] = {"traced": traced, "untraced": lambda: _untraced(folder)}
    for way in (*ways.values(), *ways.values()):
        way()
    for number in range(repeats):
        for name in order(list(ways), number):
            samples[name].append(ways[name]())
            time.sleep(0.05)
    for _ in range(repeats):
        begun = time.perf_counter()
        asyncio.run(trace(LAB, URL))
        samples["python"].append((time.perf_counter() - begun) * 1e3)


def _untraced(folder: Path) -> float:
    """Microseconds of one request, sent as a trace sends it."""
    from emulab.lab.client.client import LabClient
    from emulab.observe.target import parse
    from emulab.servers.stub import ResolverConfig, resolve
    from emulab.trace.sending import RequestToSend, send_request

    def opened(kind: int) -> socket.socket:
        with LabClient(folder) as client:
            sock = client.request_socket(**SOURCE, family=int(socket.AF_INET), type=int(kind))
        sock.bind(("0.0.0.0", 0))
        return sock

    async def name_socket(family: int, kind: int) -> socket.socket:
        sock = opened(kind)
        sock.setblocking(False)
        return sock

    with LabClient(folder) as client:
        config = ResolverConfig.parse(*client.request("resolver-files", **SOURCE))
    with opened(socket.SOCK_STREAM) as sock:
        request = RequestToSend(
            text=URL,
            target=parse(URL),
            place="client",
            addresses=(),
            sockets={int(socket.AF_INET): sock},
            resolve=lambda name: asyncio.run(resolve(name, config, name_socket)),
        )
        sending = send_request(request, [])
    if sending.status != 200:
        sys.exit(f"bench: {URL}: {sending.reason or sending.status}")
    return (sending.ended - sending.begun) / 1e3


def _bystanders(labs: Labs, rounds: int, samples: dict[str, list[float]]) -> None:
    """Everybody's throughput in a lab that was never traced, and in one that was, in turn."""
    if which("wrk") is None:
        return
    ways = {"never traced": "untouched", "traced before": "traced"}
    for lab in ways.values():
        labs.command("-l", lab, "up", SHOP)
        _throughput(labs, lab)
    labs.command("-l", "traced", "trace", URL)
    for number in range(rounds):
        for what in order(list(ways), number):
            samples[what].append(_throughput(labs, ways[what]))
    for lab in ways.values():
        labs.command("-l", lab, "down")


def _throughput(labs: Labs, lab: str) -> float:
    _, output = labs.command("-l", lab, "exec", "client", "--", *WRK)
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None:
        sys.exit(f"bench: wrk said {output!r}")
    return float(found[1])


def _many(labs: Labs, count: int, samples: dict[str, list[float]]) -> None:
    """Traces in a row, and what the supervisor has before and after them."""
    from emulab.trace.tracing import trace

    pid = json.loads((labs.folder / LAB / "lab.json").read_text())["pid"]
    for _ in range(SETTLING):
        asyncio.run(trace(LAB, URL))
    for when in ("at first", "at last"):
        time.sleep(0.5)
        status = Path(f"/proc/{pid}/status").read_text()
        samples[f"memory {when}"].append(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024)
        samples[f"descriptors {when}"].append(len(os.listdir(f"/proc/{pid}/fd")))
        samples[f"all memory {when}"].append(labs.proportional_memory(LAB) / 1024)
        if when == "at first":
            for _ in range(count):
                asyncio.run(trace(LAB, URL))
    tables = labs.command("exec", "node1", "--", "nft", "list", "tables")[1]
    samples["tables"].append(tables.count("emulab-trace"))


def _notes(samples: dict[str, list[float]]) -> list[str]:
    return [
        "a request: one HTTP request with its DNS question, from the first system call to the last",
        "throughput: wrk with 8 connections in the client; ratios are of neighbours in time",
        f"in a row: after {SETTLING} traces to settle; the supervisor's RSS, all processes' PSS",
        *([] if samples.get("traced before") else ["wrk is not installed: no throughput"]),
    ]


def _rows(samples: dict[str, list[float]], count: int) -> list[FigureRow]:
    def row(what: str, key: str, unit: str, goal: float | None = None) -> FigureRow:
        return FigureRow(what, tuple(samples[key]), unit, goal)

    return [
        row("emulab trace, the whole command", "command", "ms", 500),
        row("lab.trace from Python", "python", "ms"),
        row("a request, untraced", "untraced", "µs"),
        row("a request, traced", "traced", "µs"),
        ratio("  traced / untraced", samples["traced"], samples["untraced"], 1.33),
        row("throughput of a lab never traced", "never traced", "req/s"),
        row("throughput of one that was traced before", "traced before", "req/s"),
        ratio("  never / before", samples["never traced"], samples["traced before"], 1.05),
        row(f"supervisor before {count} traces", "memory at first", "MiB"),
        row("supervisor after them", "memory at last", "MiB"),
        ratio("  after / before", samples["memory at last"], samples["memory at first"], 1.05),
        row("  all processes before", "all memory at first", "MiB"),
        row("  all processes after", "all memory at last", "MiB"),
        row("  descriptors before", "descriptors at first", ""),
        row("  descriptors after", "descriptors at last", "", samples["descriptors at first"][0]),
        row("  nft tables of traces left", "tables", "", 0),
    ]
