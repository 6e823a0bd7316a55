"""`scripts/bench dns`: emulab's own name server beside Debian's dnsmasq and unbound, told the same, one process each.

All stand in one network namespace on one CPU; dnsperf, which asks, has another one. They take turns, so the ratios are
of one round: what disturbs the machine disturbs all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

from benchmarks.labs import ROOT, Labs, isolated
from benchmarks.nameserved import CALM, MANY, NAMES, PARTS, Figures
from benchmarks.nameservers import DNSMASQ, EMULAB, UNBOUND
from benchmarks.printed import show
from emulab.bench.figures import FigureRow, ratio

SCENES = {
    "cached": "cached answers",
    "zones": "answers from a zone",
    "cluster": "names of Services",
}
RATE, LATE, LOST = 1.0, 1.2, 0.0
BEGUN, CHANGED, MEMORY, READY = 50.0, 50.0, 60.0, 50.0
LAB, TURNS = "dns", 20
NOTES = (
    f"{NAMES} names, asked over UDP by 10 sockets with 100 queries under way; p99: at {CALM} queries a second",
    "CPU: of the server, in and out of the kernel, for one query; where other work disturbs, the figure to look at",
    f"{MANY} Services: told whole to a server that runs, then one changed at a time, until it is answered",
    "readiness: from an endpoint's readiness said to a lab until the lab says that all follow it, and a name does",
)


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench dns", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--seconds", type=int, default=3, metavar="N", help="of a load (default: 3)")
    every = (*PARTS, "ready")
    parser.add_argument("--only", default=",".join(every), metavar="PART,…", help=f"of {', '.join(every)}")
    parser.add_argument("--quick", action="store_true", help="two rounds of one second")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    parts = [part for part in options.only.split(",") if part]
    if unknown := set(parts) - set(every):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but {', '.join(every)}")
    for program, package in (("dnsperf", "dnsperf"), (DNSMASQ, "dnsmasq-base"), (UNBOUND, "unbound")):
        if shutil.which(program) is None:
            sys.exit(f"bench: {program} is not installed (apt install {package})")
    rounds, seconds = (2, 1) if options.quick else (options.rounds, options.seconds)
    beside = [part for part in parts if part in PARTS]
    figures = _measure(rounds, seconds, beside) if beside else {}
    rows = _rows(figures)
    if "ready" in parts:
        rows.append(
            FigureRow(
                "readiness until names follow", tuple(_readiness(3 if options.quick else TURNS)), "ms", READY
            )
        )
    show(rows, NOTES, options.output == "json")
    return 0


def _measure(rounds: int, seconds: int, parts: list[str]) -> Figures:
    program = [sys.executable, "-m", "benchmarks.nameserved", str(rounds), str(seconds), ",".join(parts)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"}
    done = subprocess.run(
        [*isolated("--pid", "--mount-proc"), *program],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(f"bench: the measurement failed{': ' + done.stdout.strip() if done.stdout else ''}")
    figures: Figures = json.loads(done.stdout)
    return figures


def _rows(figures: Figures) -> list[FigureRow]:
    rows = []
    for scene, what in SCENES.items():
        for kind, unit, goal, least in (
            ("", "1/s", RATE, True),
            (" CPU", "µs", None, False),
            (" p99", "µs", LATE, False),
        ):
            there = figures.get(f"{scene}{kind}", {})
            if not there:
                continue
            rows += [
                FigureRow(f"{what}{kind}, {side}", tuple(values), unit) for side, values in there.items()
            ]
            for other in (DNSMASQ, UNBOUND):
                compared = ratio(
                    f"  emulab / {other}", there[EMULAB], there[other], goal if other == DNSMASQ else None
                )
                rows.append(replace(compared, least=least))
        if lost := figures.get(f"{scene} lost"):
            rows.append(FigureRow(f"{what}, lost", tuple(lost[EMULAB]), "", LOST))
    for name, what, unit, goal in (
        ("many begun", f"{MANY} Services, begun with", "ms", BEGUN),
        ("many begun CPU", "  CPU", "ms", None),
        ("many changed", f"{MANY} Services, one changed", "ms", CHANGED),
        ("many memory", f"{MANY} Services, memory", "MB", MEMORY),
    ):
        if taken := figures.get(name, {}).get(EMULAB):
            rows.append(FigureRow(what, tuple(taken), unit, goal))
    return rows


_WORLD = """
apiVersion: v1
kind: Service
metadata: {name: head}
spec: {clusterIP: None, ports: [{port: 80}]}
"""
_SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: head-1, labels: {{kubernetes.io/service-name: head}}}}
addressType: IPv4
ports: [{{port: 80, protocol: TCP}}]
endpoints:
- {{addresses: [10.244.1.200], conditions: {{ready: true}}}}
- {{addresses: [10.244.1.201], conditions: {{ready: {ready}}}}}
"""


def _readiness(turns: int) -> list[float]:
    """Milliseconds of each change of an endpoint's readiness."""
    from emulab.lab.client.client import LabClient

    taken = []
    with Labs() as labs:
        labs.command("-l", LAB, "up", labs.write("world.yaml", _WORLD))
        for turn in range(turns + 1):
            ready = str(turn % 2 == 0).lower()
            begun = time.perf_counter()
            with LabClient(labs.folder / LAB) as client:
                client.request("apply", sources=[["slice.yaml", _SLICE.format(ready=ready)]])
            taken.append(1e3 * (time.perf_counter() - begun))
            dig = ("-l", LAB, "exec", "node1", "--", "dig", "+short", "@10.96.0.10")
            _, said = labs.command(*dig, "head.default.svc.cluster.local")
            if ("10.244.1.201" in said) is not (ready == "true"):
                sys.exit(f"bench: the name doesn't follow its endpoints' readiness: {said}")
    return taken[1:]  # the first one makes it
