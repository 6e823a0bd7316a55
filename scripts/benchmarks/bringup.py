"""`scripts/bench bringup`: how long labs take to come and go, and what a pod costs.

Each round measures everything once, one after the other, so that a slow moment of the machine shows in all of it.
The commands are whole ones, the interpreter's start included. Mininet and the floor run in network namespaces of
their own, which the kernel takes down.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from benchmarks import containers
from benchmarks.labs import ROOT, Labs, isolated, manifest
from benchmarks.printed import show
from emulab.bench.figures import FigureRow, ratio

HERE = Path(__file__).resolve().parent
DEBIAN_PYTHON = "/usr/bin/python3"
MININET_PACKAGES = ("mininet", "bridge-utils")
# Mininet raises limits of the whole machine; in here it can't.
GUARDED = (
    "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && ip link set lo up && exec "
)


class Size(NamedTuple):
    """A lab's size, and how its rows are called."""

    pods: int
    services: int
    nodes: int

    @property
    def text(self) -> str:
        return f"{self.pods} pods"


SMALL, LARGE = Size(200, 20, 2), Size(1000, 100, 10)


def main(arguments: list[str]) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench bringup", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round, and no lab of 1,000 pods")
    parser.add_argument("--containers", action="store_true", help="the rows of containers alone")
    parser.add_argument("-o", "--output", choices=("json",))
    options = parser.parse_args(arguments)
    repeats = 1 if options.quick else options.repeats
    samples: defaultdict[str, list[float]] = defaultdict(list)
    obstacle = "" if options.containers else _mininet_obstacle()
    with Labs() as labs:
        labs.command("up", str(ROOT / "topologies/shop.yaml"))  # byte code and the page cache
        labs.command("down")
        containers.prepare(labs)
        for number in range(repeats):
            print(f"round {number + 1} of {repeats}", file=sys.stderr)
            containers.measure(labs, samples)
            if options.containers:
                continue
            _commands(labs, samples)
            _lab(labs, SMALL, samples)
            if not obstacle:
                samples["mininet"].append(_mininet())
                _let_the_kernel_finish(SMALL.pods)
            for way in ("ipbatch", "preencoded"):
                samples[way].append(_floor(way))
                _let_the_kernel_finish(SMALL.pods)
            if not options.quick:
                _lab(labs, LARGE, samples)
    if options.containers:
        show(containers.rows(samples), [], options.output == "json")
        return 0
    notes = [f"Mininet: n/a, {obstacle}"] if obstacle else []
    show(_rows(samples, large=not options.quick), [*notes, *NOTES], options.output == "json")
    return 0


NOTES = (
    "floor: namespace, veth into the bridge, address, default route; one socket a namespace, batched sends",
    "kernel part: namespaces, links, addresses, routes and nft rules of the whole lab (`spent` of `summary`)",
    "Mininet: from its start until 200 hosts on a Linux bridge are started, without taking them down",
)


def _rows(samples: dict[str, list[float]], large: bool) -> list[FigureRow]:
    def row(what: str, key: str, unit: str = "s", goal: float | None = None) -> FigureRow:
        return FigureRow(what, tuple(samples[key]), unit, goal)

    up, kernel = f"up {SMALL.text}", f"kernel {SMALL.text}"
    rows = [
        row("emulab up topologies/shop.yaml", "up", goal=0.8),
        row("emulab down", "down", goal=0.3),
        row("emulab --help", "help", goal=0.15),
        row("emulab up: 200 pods, 20 Services", up),
        row("emulab down: 200 pods", f"down {SMALL.text}"),
        row("Mininet: 200 hosts", "mininet"),
        ratio("  emulab / Mininet", samples[up], samples["mininet"], 0.25),
        row("kernel part of 200 pods", kernel),
        row("floor of 200 pods, pyroute2's IPBatch", "ipbatch"),
        ratio("  kernel part / floor", samples[kernel], samples["ipbatch"], 2.0),
        row("floor of 200 pods, encoded beforehand", "preencoded"),
        ratio("  kernel part / that floor", samples[kernel], samples["preencoded"]),
    ]
    rows += containers.rows(samples)
    if not large:
        return rows
    up_large = samples[f"up {LARGE.text}"]
    memory = [
        (b - a) / (LARGE.pods - SMALL.pods)
        for a, b in zip(samples[f"memory {SMALL.text}"], samples[f"memory {LARGE.text}"], strict=True)
    ]
    per_pod = [t / LARGE.pods * 1000 for t in up_large], [t / SMALL.pods * 1000 for t in samples[up]]
    return [
        *rows,
        row("emulab up: 1,000 pods, 100 Services, 10 nodes", f"up {LARGE.text}"),
        row("emulab down: 1,000 pods", f"down {LARGE.text}"),
        row("kernel part of 1,000 pods", f"kernel {LARGE.text}"),
        FigureRow("time a pod at 1,000 pods", tuple(per_pod[0]), "ms"),
        FigureRow("time a pod at 200 pods", tuple(per_pod[1]), "ms"),
        ratio("  1,000 / 200", *per_pod, 1.1),
        FigureRow("memory a stand-in pod (PSS, 1,000 less 200)", tuple(memory), "kB", 150),
    ]


def _commands(labs: Labs, samples: dict[str, list[float]]) -> None:
    samples["help"].append(labs.command("--help")[0])
    samples["up"].append(labs.command("up", str(ROOT / "topologies/shop.yaml"))[0])
    samples["down"].append(labs.command("down")[0])


def _lab(labs: Labs, size: Size, samples: dict[str, list[float]]) -> None:
    """One lab of this size, up and down."""
    lab = f"bench-{size.pods}"
    path = labs.write(f"{lab}.yaml", manifest(size.pods, size.services, size.nodes))
    samples[f"up {size.text}"].append(labs.command("-l", lab, "up", "--timeout", "200s", path)[0])
    samples[f"kernel {size.text}"].append(labs.summary(lab)["spent"]["kernel"])
    samples[f"memory {size.text}"].append(labs.proportional_memory(lab))
    samples[f"down {size.text}"].append(labs.command("-l", lab, "down")[0])
    _let_the_kernel_finish(size.pods)


def _let_the_kernel_finish(namespaces: int) -> None:
    """Waits while the kernel takes namespaces down, which it does after their owner has gone, on one of our CPUs.

    What is measured next would pay for it, be it emulab or a peer: about 2 ms a namespace here, and as much again.
    """
    time.sleep(0.5 + namespaces * 0.004)


def _floor(way: str) -> float:
    """Seconds of the batched floor for as many pods as the small lab has."""
    command = [*isolated(), sys.executable, str(HERE / "floor.py"), str(SMALL.pods), way]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def _mininet_obstacle() -> str:
    """Why Mininet can't be measured, "" when it can; installs Debian's package if it is missing."""
    if os.geteuid() != 0:
        return "it runs as root only"
    if _has_mininet():
        return ""
    if not shutil.which("apt-get"):
        return "its Debian package is not installed and there is no apt-get"
    print(f"installing {' '.join(MININET_PACKAGES)} with apt", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *MININET_PACKAGES]
    for command in (["apt-get", "-q", "update"], install):
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    if done.returncode or not _has_mininet():
        reason = (done.stderr.strip().splitlines() or ["it doesn't work"])[-1]
        return f"its Debian package could not be installed: {reason}"
    return ""


def _has_mininet() -> bool:
    if not (Path(DEBIAN_PYTHON).exists() and shutil.which("mnexec") and shutil.which("brctl")):
        return False
    return subprocess.run([DEBIAN_PYTHON, "-c", "import mininet.net"], capture_output=True).returncode == 0


def _mininet() -> float:
    """Seconds until Mininet has built as many hosts as the small lab has pods."""
    inner = f"{GUARDED}{DEBIAN_PYTHON} {shlex.quote(str(HERE / 'mininet_build.py'))} {SMALL.pods}"
    command = [*isolated("--mount", "--pid", "--mount-proc"), "sh", "-c", inner]
    begun = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        taken = time.perf_counter() - begun
        if line != "started\n":
            sys.exit(f"bench: Mininet did not start: {line}{process.stderr.read()}")
        process.communicate()  # its end, with everything it made
    return taken
