"""`scripts/bench ingress`: the ingress' own engine beside Debian's nginx, configured as ingress-nginx.

Both stand in one network namespace with one worker each, on one CPU, in front of one upstream; whoever asks has another
CPU. They take turns, so the ratios are of one round: what disturbs the machine disturbs both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

from benchmarks.ingressed import IDLE, MANY, PARTS
from benchmarks.l7 import planned
from benchmarks.labs import ROOT, isolated
from benchmarks.printed import show
from benchmarks.sides import EMULAB, NGINX
from emulab.bench.figures import FigureRow, ratio

# Figure, what it is, its unit, the goal of its ratio to nginx, whether that is a least one.
FIGURES = (
    ("small", "small requests", "1/s", 0.75, True),
    ("small p99", "small requests' p99", "µs", 1.5, False),
    ("small CPU", "small request's CPU", "µs", None, False),
    ("new", "new connections", "1/s", 0.5, True),
    ("new CPU", "new connection's CPU", "µs", None, False),
    ("big", "1 MB answers", "1/s", 1.0, True),
    ("big CPU", "1 MB answer's CPU", "µs", None, False),
    ("tls", "TLS handshakes", "1/s", 0.7, True),
    ("tls CPU", "TLS handshake's CPU", "µs", None, False),
    ("h2", "HTTP/2 requests", "1/s", None, True),
    ("h2 CPU", "HTTP/2 request's CPU", "µs", None, False),
)
IDLE_GOAL, FLAT, LIVE = 10_000, 1.15, 20.0
NOTES = (
    "small: 100 bytes over 32 kept connections; new: a connection for each; TLS: a whole handshake for each",
    "CPU: of the worker, in and out of the kernel, for one request; where other work disturbs, the figure to look at",
    f"idle connection: by how much the worker grows for each of {IDLE} that have had an answer",
    f"look-up: CPU of a request with {MANY} rules to that with 10; change: one more rule beside so many, under load",
)


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench ingress", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--seconds", type=int, default=3, metavar="N", help="of a load (default: 3)")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,…", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="two rounds of one second")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    parts = [part for part in options.only.split(",") if part]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but {', '.join(PARTS)}")
    for program in ("wrk", "nginx"):
        if shutil.which(program) is None:
            sys.exit(f"bench: {program} is not installed (apt install {program})")
    without = [] if shutil.which("h2load") else ["h2"]
    parts = [part for part in parts if part not in without]
    rounds, seconds = (2, 1) if options.quick else (options.rounds, options.seconds)
    figures = _measure(rounds, seconds, parts)
    show(_rows(figures), NOTES, options.output == "json")
    return 0


def _measure(rounds: int, seconds: int, parts: list[str]) -> dict[str, dict[str, list[float]]]:
    program = [sys.executable, "-m", "benchmarks.ingressed", str(rounds), str(seconds), ",".join(parts)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"}
    done = subprocess.run(
        [*isolated(), *program], env=environment, input=planned(ROOT), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"bench: the measurement failed{': ' + done.stdout.strip() if done.stdout else ''}")
    figures: dict[str, dict[str, list[float]]] = json.loads(done.stdout)
    return figures


def _rows(figures: dict[str, dict[str, list[float]]]) -> list[FigureRow]:
    rows = []
    for name, what, unit, goal, least in FIGURES:
        there = figures.get(name, {})
        if not there:
            continue
        rows += [FigureRow(f"{what}, {side}", tuple(there.get(side, ())), unit) for side in (EMULAB, NGINX)]
        compared = ratio("  emulab / nginx", there.get(EMULAB, ()), there.get(NGINX, ()), goal)
        rows.append(replace(compared, least=least))
    for side, taken in figures.get("idle", {}).items():
        rows.append(
            FigureRow(
                f"idle connection, {side}", tuple(taken), "bytes", IDLE_GOAL if side == EMULAB else None
            )
        )
    return rows + _of_rules(figures)


def _of_rules(figures: dict[str, dict[str, list[float]]]) -> list[FigureRow]:
    rows = []
    for way in ("hosts", "paths"):
        for side, many in figures.get(f"{way} {MANY}", {}).items():
            goal = FLAT if side == EMULAB else None
            few = figures[f"{way} 10"][side]
            rows.append(ratio(f"look-up among {MANY} {way}, {side}", many, few, goal))
    if taken := figures.get("change CPU", {}).get(EMULAB):
        rows.append(FigureRow(f"changed rule of {MANY}, CPU", tuple(1e3 * t for t in taken), "ms", LIVE))
    for side, taken in figures.get("change", {}).items():
        goal = LIVE if side == EMULAB else None
        rows.append(
            FigureRow(f"changed rule of {MANY} live, {side}", tuple(1e3 * t for t in taken), "ms", goal)
        )
        rows.append(
            FigureRow(
                f"  runs with failed requests, {side}", tuple(figures["failed"][side]), "", goal and 0.0
            )
        )
    return rows
