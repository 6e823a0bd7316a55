"""Containers by each runtime that there is, in one lab's namespaces, one after the other in each round.

A start is from the kubelet's call to the first word of the program, a shell; a life is until its exit status is known.
An exec is a program that ends at once, in a container that runs. Roots are the host's folders, copy-on-write.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.printed import show
from emulab.bench.figures import FigureRow, ratio
from emulab.kernel.containers.runtimes import RUNTIMES
from emulab.kernel.netns import Handle
from emulab.kernel.processes import isolate, spawner
from emulab.lab.folders import private
from emulab.lab.hosts.processes import Processes
from emulab.lab.kubelet.runtime.builtin import BuiltinRuntime
from emulab.lab.kubelet.runtime.interface import ContainerConfig, ContainerRuntime, PodSandboxConfig
from emulab.lab.kubelet.runtime.oci import OciRuntime

_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_WHAT = ("start", "life", "exec")
Samples = dict[tuple[str, str], list[float]]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench runtimes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="ten rounds")
    parser.add_argument("-o", dest="output", choices=["json"])
    options = parser.parse_args(arguments)
    reading, writing = os.pipe()
    if os.fork():  # the other one becomes a supervisor, which goes on as a process of its own
        os.close(writing)
        return 0 if os.read(reading, 1) else 1
    with tempfile.TemporaryDirectory(prefix="emulab-bench-") as folder:
        isolate.isolate()
        private.mount(Path(folder))
        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        spawned = spawner.start_spawner(lambda *_: None, lambda: None, files)
        try:
            rows, notes = asyncio.run(_measure(spawned, Path(folder), options))
        finally:
            private.unmount(Path(folder))
    show(rows, notes, options.output == "json")
    os.write(writing, b"x")
    os._exit(0)


async def _measure(
    spawned: socket.socket, folder: Path, options: argparse.Namespace
) -> tuple[list[FigureRow], list[str]]:
    processes, place = Processes(spawned), private.folder(folder)
    runtimes: dict[str, ContainerRuntime] = {"builtin": BuiltinRuntime(processes, place, ())}
    notes = []
    for name in RUNTIMES:
        found = OciRuntime(name, processes, place, ())
        status = await found.status()
        if status.ready:
            runtimes[name] = found
        else:
            notes.append(status.message)
    network = Handle("", os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC), None)
    samples = await _rounds(runtimes, network, 10 if options.quick else options.rounds)
    network.close()
    return [*_rows(runtimes, samples)], notes


async def _rounds(runtimes: Mapping[str, ContainerRuntime], network: Handle, count: int) -> Samples:
    samples: Samples = {(what, name): [] for what in _WHAT for name in runtimes}
    sandboxes, running = {}, {}
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for name, runtime in runtimes.items():
        config = PodSandboxConfig(name, name, network, host_network=True)
        sandboxes[name] = await runtime.run_pod_sandbox(config)
        lasting = ContainerConfig("lasting", ("sleep", "infinity"), _ENVIRONMENT)
        running[name] = await runtime.create_container(sandboxes[name], lasting)
        await runtime.start_container(running[name], (null, null, null))
    for _ in range(count):
        for name, runtime in runtimes.items():
            start, life = await _live(runtime, sandboxes[name], null)
            samples["start", name].append(start)
            samples["life", name].append(life)
            begun = perf_counter()
            await runtime.exec_sync(running[name], ("true",), 100)
            samples["exec", name].append(perf_counter() - begun)
    for name, runtime in runtimes.items():
        await runtime.remove_container(running[name])
        await runtime.stop_pod_sandbox(sandboxes[name])
    os.close(null)
    return samples


async def _live(runtime: ContainerRuntime, sandbox: str, null: int) -> tuple[float, float]:
    """Seconds of a container until its first word, and until its end is known."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[float] = loop.create_future()
    loop.add_reader(reading, lambda: heard.done() or heard.set_result(perf_counter()))
    try:
        begun = perf_counter()
        config = ContainerConfig("short", ("sh", "-c", "echo begun"), _ENVIRONMENT)
        made = await runtime.create_container(sandbox, config)
        await runtime.start_container(made, (null, writing, writing))
        first = await heard
        await runtime.wait_container(made)
        ended = perf_counter()
        await runtime.remove_container(made)
        return first - begun, ended - begun
    finally:
        loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)


def _rows(runtimes: Mapping[str, object], samples: Samples) -> list[FigureRow]:
    rows = []
    for what in _WHAT:
        for name in runtimes:
            values = samples[what, name]
            rows.append(FigureRow(f"{what} by {name}", tuple(1000 * value for value in values), "ms"))
            if name != "builtin":
                rows.append(ratio("  beside builtin", values, samples[what, "builtin"]))
    return rows
