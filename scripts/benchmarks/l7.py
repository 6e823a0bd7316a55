"""`scripts/bench l7`: the ingress' server alone, beside that of another checkout.

One process of the server, started and configured as a lab would, between wrk and an upstream that always says the
same, in a network namespace of its own. With `--against` the two checkouts take turns, and the ratios are of the runs
of one round: what disturbs the machine disturbs both. Configuration has no form of its own here: each checkout plans
it from one manifest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from benchmarks.labs import ROOT, isolated
from benchmarks.printed import show
from benchmarks.proxied import HOST, UPSTREAM
from emulab.bench.figures import FigureRow, ratio
from emulab.bench.turns import order

PROGRAM = str(Path(__file__).resolve().parent / "proxied.py")
FIGURES = (
    ("requests", "1/s"),
    ("p99 latency", "µs"),
    ("CPU of a request", "µs"),
    ("idle connection", "bytes"),
)
GOALS = {"requests": 0.97, "CPU of a request": 1.03}
CONNECTIONS, IDLE = 32, 2000
LIMIT = 60  # seconds that a measurement may take beside its load

# Clients ask without a PROXY header, which nginx couldn't do without, where it is to be there.
MANIFEST = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: ingress-nginx-controller, namespace: ingress-nginx}}
data: {{use-proxy-protocol: "false"}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec: {{containers: [{{name: web, image: "bench/web:1", ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{clusterIP: {UPSTREAM[0]}, selector: {{app: web}}, ports: [{{port: {UPSTREAM[1]}, targetPort: 8080}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  rules:
    - host: {HOST}
      http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
"""


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench l7", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="another checkout, of the state before"
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds (default: 7)")
    parser.add_argument("--seconds", type=int, default=4, metavar="N", help="of load in a round (default: 4)")
    parser.add_argument("--quick", action="store_true", help="two rounds of two seconds")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    if shutil.which("wrk") is None:
        sys.exit("bench: wrk is not installed (apt install wrk)")
    rounds, seconds = (2, 2) if options.quick else (options.rounds, options.seconds)
    checkouts = {"now": ROOT, **({"before": options.against.resolve()} if options.against else {})}
    plans = {name: planned(checkout) for name, checkout in checkouts.items()}
    samples: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds):
        for name in order(list(checkouts), number):
            figures = _measure(checkouts[name], plans[name], seconds)
            for (what, _), figure in zip(FIGURES, figures, strict=True):
                samples[name, what].append(figure)
    show(_rows(samples, list(checkouts)), NOTES, options.output == "json")
    return 0


NOTES = (
    f"{CONNECTIONS} kept connections of wrk, answers of 100 bytes; the server has a CPU that nothing else here uses",
    "CPU of a request: the server's, in and out of the kernel; on a machine with other work the figure to look at",
    f"idle connection: by how much the server grows for each of {IDLE} that have had an answer",
)


def _rows(samples: dict[tuple[str, str], list[float]], names: list[str]) -> list[FigureRow]:
    rows = []
    for what, unit in FIGURES:
        rows += [FigureRow(f"{what}, {name}", tuple(samples[name, what]), unit) for name in names]
        if len(names) > 1:
            compared = ratio("  now / before", samples["now", what], samples["before", what], GOALS.get(what))
            rows.append(replace(compared, least=what == "requests"))
    return rows


def planned(checkout: Path) -> str:
    """What a checkout's `emulab plan` says of the manifest."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(MANIFEST)
        file.flush()
        return _run(checkout, [sys.executable, "-m", "emulab", "plan", "-o", "json", file.name])


def _measure(checkout: Path, plan: str, seconds: int) -> list[float]:
    arguments = [sys.executable, PROGRAM, *map(str, (seconds, CONNECTIONS, IDLE))]
    return [float(word) for word in _run(checkout, [*isolated(), *arguments], plan, seconds).split()]


def _run(checkout: Path, command: list[str], stdin: str = "", seconds: int = 0) -> str:
    """The output of a command with a checkout's emulab. Exits when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        command,
        cwd=checkout,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT + seconds,
    )
    if done.returncode:
        sys.exit(f"bench: {' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
