"""`scripts/bench balancer`: the balancer's own engine beside Debian's HAProxy in TCP mode, and the kernel's forwarding.

The two proxies stand in one network namespace with one worker each, on one CPU; clients and the backend are in others,
on another CPU. They take turns, so the ratios are of one round: what disturbs the machine disturbs both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

from benchmarks.balanced import IDLE, PARTS
from benchmarks.balancersides import EMULAB, HAPROXY, NAT
from benchmarks.labs import ROOT, isolated
from benchmarks.printed import show
from emulab.bench.figures import FigureRow, ratio

# Figure, what it is, its unit, the goals of the ratios to HAProxy of modes proxy and nat, whether these are least ones.
FIGURES = (
    ("small", "small requests", "1/s", 0.9, 1.3, True),
    ("small p99", "small requests' p99", "µs", None, None, False),
    ("small CPU", "small request's CPU", "µs", None, None, False),
    ("new", "new connections", "1/s", 0.9, None, True),
    ("new CPU", "new connection's CPU", "µs", None, None, False),
    ("big", "1 MB answers", "1/s", 1.2, None, True),
    ("big CPU", "1 MB answer's CPU", "µs", None, None, False),
)
IDLE_GOAL = 5000
NOTES = (
    "small: 100 bytes over 32 kept connections; new: a connection for each; nat: the kernel's, which has no worker",
    "CPU: of the worker, in and out of the kernel; where other work disturbs, the figure to look at",
    f"idle connection: by how much the worker grows for each of {IDLE} that have had an answer",
)


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench balancer", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--seconds", type=int, default=3, metavar="N", help="of a load (default: 3)")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,…", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="two rounds of one second")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    parts = [part for part in options.only.split(",") if part]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but {', '.join(PARTS)}")
    for program in ("wrk", "nginx", "haproxy", "nft"):
        if shutil.which(program) is None:
            package = "nftables" if program == "nft" else program
            sys.exit(f"bench: {program} is not installed (apt install {package})")
    rounds, seconds = (2, 1) if options.quick else (options.rounds, options.seconds)
    show(_rows(_measure(rounds, seconds, parts)), NOTES, options.output == "json")
    return 0


def _measure(rounds: int, seconds: int, parts: list[str]) -> dict[str, dict[str, list[float]]]:
    program = [sys.executable, "-m", "benchmarks.balanced", str(rounds), str(seconds), ",".join(parts)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"}
    done = subprocess.run([*isolated(), *program], env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"bench: the measurement failed{': ' + done.stdout.strip() if done.stdout else ''}")
    figures: dict[str, dict[str, list[float]]] = json.loads(done.stdout)
    return figures


def _rows(figures: dict[str, dict[str, list[float]]]) -> list[FigureRow]:
    rows = []
    for name, what, unit, goal, goal_of_nat, least in FIGURES:
        there = figures.get(name, {})
        sides = [side for side in (EMULAB, HAPROXY, NAT) if side in there]
        rows += [FigureRow(f"{what}, {side}", tuple(there[side]), unit) for side in sides]
        for side, wanted in ((EMULAB, goal), (NAT, goal_of_nat)):
            if side in there:
                compared = ratio(f"  {side} / {HAPROXY}", there[side], there[HAPROXY], wanted)
                rows.append(replace(compared, least=least))
    for side, taken in figures.get("idle", {}).items():
        goal = IDLE_GOAL if side == EMULAB else None
        rows.append(FigureRow(f"idle connection, {side}", tuple(taken), "bytes", goal))
    return rows
