"""The supervisor's event loop: puts the parts of a lab together and runs them until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from emulab.cluster.events import Recorder
from emulab.cluster.store import Store
from emulab.kernel.cgroups import sweeping
from emulab.kernel.cgroups.hierarchies import hierarchies
from emulab.kernel.network import KernelNetwork
from emulab.lab.folders.rundir import LabInfo
from emulab.lab.hosts.logs import Logs, bound_own_log
from emulab.lab.hosts.processes import Processes
from emulab.lab.hosts.serverhosts import ServerHosts
from emulab.lab.images.held import Images
from emulab.lab.kubelet.kubelet import Kubelet
from emulab.lab.supervisor import corefilenews, speakernews, translators
from emulab.lab.supervisor.control import ControlServer
from emulab.lab.supervisor.operations import Operations
from emulab.lab.supervisor.presence import Presence
from emulab.lab.supervisor.publisher import Publisher
from emulab.lab.supervisor.reconciler import Reconciler
from emulab.lab.supervisor.surroundings import Surroundings

_AGEING = 60.0  # seconds after which is looked again which Events are too old
_ENDING = 5.0  # seconds that work under way has to end


async def run(
    info: LabInfo, folder: Path, images: Path, spawned: socket.socket, ready: int, leash: int, named: bool
) -> bool:
    """Runs the lab until `down`, SIGTERM, the end of its leash, its spawner or its folder.

    `images`: where those of its user are. `named`: its places get names under /run/netns. Returns whether the lab
    was told to end.
    """
    stop = asyncio.Event()
    told: list[bool] = []
    loop = asyncio.get_running_loop()

    def end() -> None:
        if leash >= 0:
            loop.remove_reader(leash)  # its end can be read again and again
        told.append(True)
        stop.set()

    def release() -> None:
        loop.remove_reader(leash)
        print("released: the lab outlives the command that started it", flush=True)

    loop.add_signal_handler(signal.SIGTERM, end)
    parts = _put_together(info, folder, images, spawned, named)
    around, reconciler = parts.around, parts.reconciler
    operations = Operations(around, parts.kubelet, reconciler, info.pid, end, release)
    control = ControlServer(operations, folder)
    tasks = [
        asyncio.ensure_future(work)
        for work in (
            *(
                control.run(),
                reconciler.run(),
                around.logs.run(),
                _age(around.events),
                translators.forget(around),
            ),
            *(bound_own_log(folder / "supervisor.log"), _until(around.processes.lost, stop)),
        )
    ]
    if leash >= 0:
        loop.add_reader(leash, end)
    loop.add_signal_handler(signal.SIGCHLD, _reap_orphans)
    await _begun(tasks[0])
    tasks.append(asyncio.ensure_future(_until_gone(Presence(folder), stop)))
    _tell_ready(ready)
    for task in tasks:
        task.add_done_callback(lambda t: stop.set() if not t.cancelled() else None)
    await stop.wait()
    await _end_tasks(reconciler, [*tasks, *control.requests])
    if parts.publisher is not None:
        parts.publisher.retract_all()
    _end_processes()
    sweeping.sweep(info.name)
    parts.network.close()
    return bool(told)


class _Parts(NamedTuple):
    """What a lab is put together of."""

    around: Surroundings
    network: KernelNetwork
    kubelet: Kubelet
    publisher: Publisher | None
    reconciler: Reconciler


def _put_together(info: LabInfo, folder: Path, images: Path, spawned: socket.socket, named: bool) -> _Parts:
    """The parts of a lab that doesn't run yet. See `run`."""
    network = KernelNetwork()
    processes = Processes(spawned)
    reconciler: Reconciler  # assigned below; the servers may poke it only after that
    logs = Logs(processes, folder / "logs")
    servers = ServerHosts(
        processes, logs, lambda: reconciler.poke(), lambda *told: _heard(around, kubelet, reconciler, *told)
    )
    store = Store()
    around = Surroundings(
        *(info.name, folder, store, processes, logs, servers, network.handles),
        *(lambda: reconciler.poke(), Recorder(store), Images(images)),
    )
    hierarchies()  # looked up before anybody waits for the loop
    kubelet = Kubelet(around)
    publisher = Publisher(around, info.pid) if named else None
    reconciler = Reconciler(around, network, kubelet, publisher)
    return _Parts(around, network, kubelet, publisher, reconciler)


async def _begun(control: asyncio.Task[None]) -> None:
    """Returns when all tasks have begun. Raises why there is no control socket."""
    await asyncio.sleep(0)
    if control.done():
        control.result()


def _tell_ready(ready: int) -> None:
    """Tells who started the lab that it can be talked to."""
    with suppress(BrokenPipeError):  # whoever it was has gone; the leash says what that means
        os.write(ready, b"ready\n")
    os.close(ready)


async def _end_tasks(reconciler: Reconciler, tasks: list[asyncio.Task[None]]) -> None:
    """Ends the lab's own work before its names are taken back, so that none is published after that."""
    reconciler.close()
    for task in tasks:
        if task.done() and not task.cancelled() and task.exception():
            print(f"supervisor: {task.exception()!r}", flush=True)
        task.cancel()
    await asyncio.wait(tasks, timeout=_ENDING)


async def _age(events: Recorder) -> None:
    while True:
        await asyncio.sleep(_AGEING)
        events.sweep(time.time())


async def _until(lost: asyncio.Event, stop: asyncio.Event) -> None:
    await lost.wait()
    print("the spawner has ended", flush=True)
    stop.set()


async def _until_gone(presence: Presence, stop: asyncio.Event) -> None:
    await presence.until_gone()
    print("the lab's folder was removed or replaced, so the lab ends", flush=True)
    stop.set()


def _heard(
    around: Surroundings, kubelet: Kubelet, reconciler: Reconciler, server: str, record: dict[str, Any]
) -> None:
    if record["event"] == "exit":
        kubelet.exited(record)
        return
    reconciler.balancers.heard(server, record)
    reconciler.zones.heard(server, record)
    speakernews.heard(around, server, record)
    corefilenews.heard(around, server, record)
    print(f"{server}: {record}", flush=True)


def _reap_orphans() -> None:
    """PID 1's duty: collects what lost its parent. The spawner is a child too, and is noticed by its socket."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_processes() -> None:
    """Ends every process of the lab's PID namespace but this one (kill(2): -1 means all that may be killed)."""
    if os.getpid() != 1:
        return
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
