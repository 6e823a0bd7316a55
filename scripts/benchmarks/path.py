"""`scripts/bench path`: a connection from a pod through a ClusterIP to a pod on the other node.

Kernel only: DNAT on the client's node, VXLAN to the other one, two veth pairs. Once in a lab of emulab, once built by
hand with `ip` and `nft` (handmade.sh), with the same program at both ends, taking turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.labs import Labs
from benchmarks.printed import show
from emulab.bench.figures import FigureRow, ratio
from emulab.bench.turns import order

HERE = Path(__file__).resolve().parent
PINGPONG = str(HERE / "pingpong.py")
ROUND_TRIPS, VOLUME = 4000, 200_000_000
SERVICE = "10.96.100.100"

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: from}
spec: {nodeName: node1, containers: [{name: client, image: "bench/client:1", command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: to, labels: {app: to}}
spec: {nodeName: node2, containers: [{name: server, image: "bench/server:1", command: COMMAND}]}
---
apiVersion: v1
kind: Service
metadata: {name: to}
spec: {clusterIP: ADDRESS, selector: {app: to}, ports: [{port: 80, targetPort: 8080}]}
"""


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench path", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="rounds (default: 9)")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    samples: defaultdict[str, list[float]] = defaultdict(list)
    with Labs() as labs, _handmade() as holder:
        serve = json.dumps([sys.executable, PINGPONG, "serve", "8080"])
        text = MANIFEST.replace("COMMAND", serve).replace("ADDRESS", SERVICE)
        labs.command("up", labs.write("path.yaml", text))
        ask = [sys.executable, PINGPONG, "ask", SERVICE, "80", str(ROUND_TRIPS), str(VOLUME)]
        inside = ["--user"] if os.geteuid() else []
        enter = ["nsenter", "-t", str(holder), *inside, "-n", "-m", "ip", "netns", "exec", "from"]
        for number in range(2 if options.quick else options.rounds):
            ways = {"emulab": labs.arguments("exec", "pod/from", "--", *ask), "hand": [*enter, *ask]}
            for way in order(list(ways), number):
                latency, throughput = labs.output(ways[way])
                samples[f"{way} latency"].append(latency)
                samples[f"{way} throughput"].append(throughput)
    show(_rows(samples), NOTES, options.output == "json")
    return 0


NOTES = (
    f"latency: median of {ROUND_TRIPS} round trips of 64 bytes on one connection; min, max: of the rounds",
    f"throughput: {VOLUME // 1_000_000} MB one way; ratios are of the two runs of one round",
)


def _rows(samples: dict[str, list[float]]) -> list[FigureRow]:
    def row(what: str, key: str, unit: str) -> FigureRow:
        return FigureRow(what, tuple(samples[key]), unit)

    return [
        row("latency, emulab", "emulab latency", "µs"),
        row("latency, built by hand", "hand latency", "µs"),
        ratio("  emulab / by hand", samples["emulab latency"], samples["hand latency"], 1.05),
        row("throughput, emulab", "emulab throughput", "MB/s"),
        row("throughput, built by hand", "hand throughput", "MB/s"),
        ratio("  by hand / emulab", samples["hand throughput"], samples["emulab throughput"], 1.05),
    ]


@contextmanager
def _handmade() -> Iterator[int]:
    """The path built by hand, with the server running; the pid of the process that holds it."""
    user = ["--user", "--map-root-user"] if os.geteuid() else []
    spaces = ["--net", "--mount", "--pid", "--mount-proc"]
    script = ["sh", str(HERE / "handmade.sh"), SERVICE, sys.executable, PINGPONG, "serve", "8080"]
    command = ["unshare", *user, *spaces, "--kill-child", "--fork", "--", *script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            sys.exit(f"bench: {shlex.join(command)} failed")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        time.sleep(0.3)  # the server's interpreter starts
        try:
            yield int(children.read_text().split()[0])
        finally:
            process.kill()
