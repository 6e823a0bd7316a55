"""`scripts/bench changes`: what each kind of change costs a supervisor that has thousands of Services.

The processor time of its process (all threads) from the request until nothing is left to do; and, at another change of
that kind, the longest time for which its event loop answered nobody: somebody else asks it for a small thing all the
while. The same asked of a lab in which nothing changes is the floor of both.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.labs import Labs
from benchmarks.many import Many, cluster_text, deployment_text, many, pod_text, slice_text, text
from benchmarks.printed import show
from emulab.bench.figures import FigureRow

LAB, NODES = "changes", ("node1", "node2")
MODES = ("nftables", "iptables", "userspace")  # those that any kernel has
CPU, PAUSE = 50.0, 20.0  # milliseconds: the goals
QUIET = 0.3  # seconds without work after which a change is done
PATIENCE = 60.0  # seconds
ASKING = 0.001  # seconds between two questions
FLOOR = "nothing asked"


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench changes", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--services", type=int, default=10_000, metavar="N", help="(default: 10,000)")
    parser.add_argument("--endpoints", type=int, default=3, metavar="N", help="of each (default: 3)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each change (default: 5)")
    parser.add_argument("--modes", default="nftables", help=f"of {','.join(MODES)} (default: nftables)")
    parser.add_argument("--quick", action="store_true", help="1,000 Services, two of each change")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    if unknown := set(options.modes.split(",")) - set(MODES):
        parser.error(f"there is no mode {', '.join(sorted(unknown))}")
    if options.quick:
        options.services, options.repeats = 1_000, 2
    rows: list[FigureRow] = []
    with Labs() as labs:
        for mode in options.modes.split(","):
            rows += _measured(labs, mode, many(options.services, options.endpoints), options.repeats)
    notes = [
        "CPU: of the supervisor's process, until it rests; pause: the longest wait of somebody who asks meanwhile"
    ]
    show(rows, notes, options.output == "json")
    return 0


def _measured(labs: Labs, mode: str, services: list[Many], repeats: int) -> list[FigureRow]:
    pods = [pod_text(f"web{n}", NODES[n % 2]) for n in range(4)]
    texts = [cluster_text(len(NODES), mode), *pods, deployment_text("moving", 3)]
    labs.command("-l", LAB, "up", labs.write("lab.yaml", "---\n".join(texts)))
    labs.command("-l", LAB, "apply", "-f", labs.write("services.yaml", text(services)))
    one = services[len(services) // 2]
    other = one._replace(endpoints=("10.180.0.1", *one.endpoints[1:]))
    web = deployment_text("moving", 3)
    changes: dict[str, Callable[[int], None]] = {
        FLOOR: lambda _: time.sleep(QUIET),
        "one endpoint": lambda turn: _apply(labs, slice_text(one if turn % 2 else other)),
        "one Service's port": lambda turn: _apply(labs, _service(one, 81 - turn % 2)),
        "a Deployment scaled": lambda turn: _ask(
            labs,
            "scale",
            group="apps",
            kind="Deployment",
            namespace="default",
            name="moving",
            replicas=4 - turn % 2,
        ),
        "nothing (applied again)": lambda _: _apply(labs, web),
    }
    samples: defaultdict[str, list[float]] = defaultdict(list)
    for turn in range(0, 2 * repeats, 2):
        for what, change in changes.items():
            before = _cpu(labs)
            change(turn)
            _until_it_rests(labs)
            samples[f"{what} cpu"].append((_cpu(labs) - before) * 1e3)
            with _asking(labs) as pauses:
                change(turn + 1)
                _until_it_rests(labs)
            samples[f"{what} pause"].append(max(pauses) * 1e3)
    labs.command("-l", LAB, "down")
    size = f"{mode}, {len(services):,} × {len(one.endpoints)}"
    return [
        row
        for what in changes
        for row in (
            FigureRow(
                f"{what}: CPU, {size}", tuple(samples[f"{what} cpu"]), "ms", None if what == FLOOR else CPU
            ),
            FigureRow(
                "  longest pause", tuple(samples[f"{what} pause"]), "ms", None if what == FLOOR else PAUSE
            ),
        )
    ]


def _service(service: Many, port: int) -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {service.name}}}\nspec:\n"
        f"  clusterIP: {service.address}\n  ports: [{{port: {port}, targetPort: 8080}}]\n"
    )


def _apply(labs: Labs, manifest: str) -> None:
    _ask(labs, "apply", sources=[["change.yaml", manifest]])


def _ask(labs: Labs, op: str, **arguments: Any) -> Any:
    from emulab.lab.client.client import LabClient

    with LabClient(labs.folder / LAB) as client:
        return client.request(op, **arguments)


def _cpu(labs: Labs) -> float:
    """Seconds of a processor that all threads of the supervisor have had."""
    tasks = Path(f"/proc/{labs.supervisor(LAB)}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _until_it_rests(labs: Labs) -> None:
    """Waits until the lab has done nothing but answer for a while."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        before = labs.summary(LAB)["spent"]
        time.sleep(QUIET)
        if labs.summary(LAB)["spent"] == before:
            return
    sys.exit("bench: the lab does not come to rest")


@contextmanager
def _asking(labs: Labs) -> Iterator[list[float]]:
    """Asks the lab for a small thing again and again; how many seconds each answer took."""
    took: list[float] = []
    done = threading.Event()

    def ask() -> None:
        from emulab.lab.client.client import LabClient

        with LabClient(labs.folder / LAB) as client:
            while not done.wait(ASKING):
                begun = time.perf_counter()
                client.request("get", group="emulab.dev", kind="Client", name="client")
                took.append(time.perf_counter() - begun)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        done.set()
        asking.join()
