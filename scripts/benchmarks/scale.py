"""`scripts/bench scale`: what labs of many nodes and pods cost to come up, and what a small change costs there.

Each lab has one Deployment of stand-ins, spread evenly over its nodes, and its Service. Processor time is that of all
the lab's processes, the kernel's work for them included; memory is theirs, shared pages divided among who shares them.
What the kernel keeps for namespaces, links and routes is not in it, so the machine's slab is shown beside.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.labs import Labs
from benchmarks.many import TARGET
from benchmarks.printed import show
from emulab.bench.figures import FigureRow

UP, MEMORY = 20.0, 1_500.0  # seconds and MB, of 100 nodes with 50 pods each: the goals
LINEAR = 1.5  # times the processor time a node and pod between the first two labs: the goal of others
QUIET = 0.5  # seconds without work after which a change is done
PATIENCE = 120.0  # seconds
LAB = "scale"
CHANGES = ("a pod more", "a pod less", "a node added", "a node lost")
NOTES = (
    "CPU: of all the lab's processes, until it rests; memory: PSS of the same; slab: of the machine, what it grew",
    "a node added, a node lost: one more in the Cluster's `nodes`, and one less again",
)


class Shape(NamedTuple):
    """How many nodes a lab has, and pods on each."""

    nodes: int
    pods: int

    @property
    def text(self) -> str:
        return f"{self.nodes:,} nodes × {self.pods} pod{'s' * (self.pods > 1)}"

    @property
    def things(self) -> int:
        """Nodes and pods together."""
        return self.nodes * (1 + self.pods)


GOAL = Shape(100, 50)
SHAPES = (*(Shape(n, 1) for n in (10, 100, 300, 1_000)), Shape(100, 10), GOAL)
QUICK = (Shape(10, 1), Shape(50, 1), Shape(20, 10))


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench scale", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=_numbers, metavar="N,…", help="nodes of labs (default: 10 to 1,000)")
    parser.add_argument("--pods", type=_numbers, metavar="N,…", help="pods of each node (default: 1 to 50)")
    parser.add_argument("--quick", action="store_true", help="up to 50 nodes and 200 pods")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    shapes = QUICK if options.quick else SHAPES
    if options.nodes or options.pods:
        shapes = tuple(Shape(n, p) for n in options.nodes or (100,) for p in options.pods or (1,))
    rows: list[FigureRow] = []
    known: list[tuple[int, float]] = []  # of each lab before: nodes and pods, and the seconds of a processor
    with Labs() as labs:
        for shape in shapes:
            print(shape.text, file=sys.stderr)
            rows += _measured(labs, shape, _in_proportion(shape, known))
            known.append((shape.things, rows[-len(CHANGES) - 3].values[0]))
    show(rows, NOTES, options.output == "json")
    return 0


def _numbers(text: str) -> list[int]:
    numbers = [int(n) for n in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("at least 1 each")
    return numbers


def _in_proportion(shape: Shape, known: Sequence[tuple[int, float]]) -> float | None:
    """The seconds of a processor that would be in proportion to those of the first two labs; None: not known yet."""
    if len(known) < 2:
        return None
    (few, first), (more, second), *_ = known
    each = (second - first) / (more - few) if more > few else 0.0
    return first + LINEAR * each * (shape.things - few) if each > 0 else None


def _measured(labs: Labs, shape: Shape, goal: float | None) -> list[FigureRow]:
    slab = _slab()
    usual = labs.write("lab.yaml", text(shape.nodes, shape.nodes * shape.pods))
    larger = labs.write("larger.yaml", text(shape.nodes + 1, shape.nodes * shape.pods))
    taken, _ = labs.command("-l", LAB, "up", "--timeout", "290s", usual)
    grown = (_slab() - slab) / 1024
    _until_it_rests(labs)
    used, memory = _cpu(labs), labs.proportional_memory(LAB) / 1024
    pods = shape.nodes * shape.pods
    commands = (
        ("scale", "deployment/web", "--replicas", str(pods + 1)),
        ("scale", "deployment/web", "--replicas", str(pods)),
        ("apply", "-f", larger),
        ("apply", "-f", usual),
    )
    costs: dict[str, float] = {}
    for what, command in zip(CHANGES, commands, strict=True):
        before = _cpu(labs)
        labs.command("-l", LAB, *command)
        _until_it_rests(labs)
        costs[what] = _cpu(labs) - before
    labs.command("-l", LAB, "down")
    is_goal = shape == GOAL
    return [
        FigureRow(f"up: {shape.text}", (taken,), "s", UP if is_goal else None),
        FigureRow("  CPU", (used,), "s", goal and round(goal, 1)),
        FigureRow("  memory", (memory,), "MB", MEMORY if is_goal else None),
        FigureRow("  slab", (max(0.0, grown),), "MB"),
        *(FigureRow(f"  {what}: CPU", (seconds,), "s") for what, seconds in costs.items()),
    ]


def text(nodes: int, pods: int) -> str:
    """The manifests of a lab: its Cluster has room for 4,000 nodes of 250 pods."""
    return (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: scale}\nspec:\n"
        f"  nodes: {nodes}\n  podCIDR: 10.240.0.0/12\n  network: {{underlay: 172.16.0.0/16}}\n---\n"
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {pods}\n"
        "  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n"
        "      terminationGracePeriodSeconds: 1\n"
        f"      containers: [{{name: web, image: 'bench/web:1', ports: [{{containerPort: {TARGET}}}]}}]\n---\n"
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
        f"spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: {TARGET}}}]}}\n"
    )


def _cpu(labs: Labs) -> float:
    """Seconds of a processor that all processes of the lab have had, those that have ended included."""
    own = os.readlink(f"/proc/{labs.supervisor(LAB)}/ns/pid")
    ticks = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/pid") == own:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))
        except OSError:
            continue  # it has just ended, or is somebody else's
    return ticks / os.sysconf("SC_CLK_TCK")


def _slab() -> int:
    """Kilobytes of small things that the kernel of the machine keeps."""
    found = re.search(r"^Slab:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def _until_it_rests(labs: Labs) -> None:
    """Waits until nothing is reconciled any more."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        before = labs.summary(LAB)["spent"]
        time.sleep(QUIET)
        if labs.summary(LAB)["spent"] == before:
            return
    sys.exit("bench: the lab does not come to rest")
