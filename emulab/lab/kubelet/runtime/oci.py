"""Containers by an OCI runtime of the machine's: crun or runc.

The runtime runs in the foreground, as the program of a child of the spawner's that has made the container's root for it
(`kernel.containers.bundle`), so what a container prints and how it ends comes to the lab by the ways that there are,
and with the lab everything goes. It ends with its container's program and has that one's exit status. Signals are sent
to the program itself, and other programs are started in its namespaces with its rights, as the builtin runtime does it:
the runtime's state is in a mount namespace of its own, and a terminal is the asker's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from emulab.errors import KernelError
from emulab.kernel.containers.bundle import OciRun
from emulab.kernel.containers.rights import CAPABILITIES
from emulab.kernel.containers.runtimes import PATH, last_error, program_of, run_of
from emulab.kernel.netns import Handle
from emulab.kernel.processes.enter import OF_CONTAINER, USERS, Program
from emulab.kernel.processes.members import end_with_children
from emulab.lab.hosts.processes import Process, Processes, StartError
from emulab.lab.kubelet.runtime.builtin import BuiltinRuntime
from emulab.lab.kubelet.runtime.created import Created
from emulab.lab.kubelet.runtime.interface import (
    ContainerConfig,
    PodSandboxConfig,
    RuntimeStatus,
    RuntimeVersion,
    Stdio,
)
from emulab.lab.kubelet.runtime.output import capture
from emulab.lab.kubelet.runtime.sandbox import PodSandbox

_WITHHELD = "MKNOD"
"""A runtime's own guard of devices is its cgroup, and crun takes `nodev` from the root."""
_LOOK = 0.002  # seconds between two looks whether the program runs
_WORDS = 4096  # octets of what a runtime says of itself
_TRIED = 10.0  # seconds that a try may take


class OciRuntime(BuiltinRuntime):
    """The runtime of that name. What isn't about starting a container's program is the builtin one's."""

    def __init__(self, name: str, processes: Processes, folder: Path, hidden: Sequence[str]) -> None:
        super().__init__(processes, folder, hidden)
        self._name = name
        self._status: RuntimeStatus | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def version(self) -> RuntimeVersion:
        """Raises KernelError when it isn't there."""
        program = Program((program_of(self._name), "--version"), {"PATH": PATH})
        said = await capture(lambda stdio: self._processes.run(program, stdio), _WORDS)
        first = said.output.partition("\n")[0]
        return RuntimeVersion(self._name, first.rpartition(" ")[2])

    async def status(self) -> RuntimeStatus:
        """A container is run, once it has ended well."""
        if self._status is None or not self._status.ready:
            status, why = await super().status(), ""
            try:
                async with asyncio.timeout(_TRIED):
                    await self._try()
            except TimeoutError:
                why = f"{self._name} doesn't end a container in {_TRIED:.0f} s"
            except (KernelError, OSError) as error:
                why = str(error)
            permitted = status.machine.permitted & ~(1 << CAPABILITIES[_WITHHELD])
            machine = status.machine._replace(permitted=permitted)
            self._status = RuntimeStatus(not why, why, machine)
        return self._status

    async def create_container(self, sandbox: str, config: ContainerConfig) -> str:
        kept = tuple(name for name in config.rights.capabilities if name != _WITHHELD)
        return await super().create_container(
            sandbox, replace(config, rights=replace(config.rights, capabilities=kept))
        )

    async def _try(self) -> None:
        program_of(self._name)
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        network = Handle("", own, None)
        try:
            sandbox = await self.run_pod_sandbox(PodSandboxConfig("try", "try", network, host_network=True))
            try:
                done = await self.run_sync(sandbox, ContainerConfig("try", ("true",), {"PATH": PATH}), _WORDS)
            finally:
                await self.stop_pod_sandbox(sandbox)
                await self.remove_pod_sandbox(sandbox)
        finally:
            network.close()
        if done.exit_code:
            raise KernelError(f"{self._name}: {done.output.strip() or f'status {done.exit_code}'}")

    async def _launch(self, container: Created, stdio: Stdio) -> Process:
        kept = tuple(os.dup(fd) for fd in stdio)  # who asks may go, and close them
        starting = asyncio.ensure_future(self._started(container, (kept[0], kept[1], kept[2])))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_unwanted)
            raise

    async def _started(self, container: Created, stdio: Stdio) -> Process:
        """Closes `stdio`, whatever happens."""
        folder = self._folder / "runtime" / container.id
        try:
            await asyncio.to_thread(lambda: folder.mkdir(parents=True))
            run = run_of(self._name, str(folder), container.id)
            program = await self._run_program(container.sandbox, container.config, run)
            return await self._program_of(container, await self._run(program, stdio), folder)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        finally:
            for fd in stdio:
                os.close(fd)

    async def _run(self, program: Program, stdio: Stdio) -> Process:
        """Runs the runtime with a stdin that has ended in place of the lab's, which is the host's /dev/null.

        A runtime gives what it has as stdio to the container's user (fchown(2)).
        """
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.close(writing)
        try:
            return await self._processes.run(program, (reading, *stdio[1:]))
        finally:
            os.close(reading)

    async def _run_program(self, sandbox: PodSandbox, config: ContainerConfig, run: OciRun) -> Program:
        """The runtime's program. It joins the pod's namespaces itself where runc wouldn't be let in any more.

        That is when the pod has users of its own, whose namespace runc joins before all others.
        """
        program = await self._program(sandbox, config)
        own_users = USERS in program.join
        inherited = ("net", "ipc", "uts") if own_users else ()
        kept = ("net", "ipc", USERS, *inherited)  # the first two are what /sys, /dev and sysctls are of
        joined = {kind: fd for kind, fd in program.join.items() if kind in kept}
        for kind, fd in program.join.items():
            if kind not in (USERS, *inherited):
                joined[f"{OF_CONTAINER}{kind}"] = fd
        return replace(program, join=joined, fresh=("mnt", "cgroup"), runtime=run)

    async def _program_of(self, container: Created, runtime: Process, folder: Path) -> Process:
        """The container's program, once the runtime has started it. Raises StartError.

        A runtime may wait for ever for what was killed in the pod that it is about to enter, so nobody waits for it
        whose container isn't wanted any more.
        """
        file, wanted = folder / "pid", True
        while not (written := _read(file)).isdecimal():
            if wanted and not container.wanted:
                wanted = False
                await asyncio.to_thread(end_with_children, runtime.pid, runtime.host_pid)
            if not runtime.running:
                why = await asyncio.to_thread(last_error, folder)
                raise StartError(f"{self._name}: {why or f'status {runtime.status}'}", runtime.status)
            await asyncio.sleep(_LOOK)
        made = _Contained(int(written), *await asyncio.to_thread(_look_up, int(written), runtime.host_pid))
        container.begun(made)
        watching = asyncio.ensure_future(self._watch(container, made, runtime, folder))
        self._tasks.add(watching)
        watching.add_done_callback(self._tasks.discard)
        return made

    async def _watch(self, container: Created, made: _Contained, runtime: Process, folder: Path) -> None:
        """What a container has left behind keeps runc, which copies what it prints, so that ends first."""
        waiting, first = asyncio.ensure_future(runtime.wait()), made.first_end()
        await asyncio.wait((waiting, first), return_when=asyncio.FIRST_COMPLETED)
        await container.end_rest()
        status = await waiting
        made.signal(signal.SIGKILL)  # a runtime that was killed has left it alone
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        made.ended(status)


class _Contained(Process):
    """A container's program, which isn't the spawner's child: whose end the runtime tells of."""

    def __init__(self, pid: int, host_pid: int, fd: int) -> None:
        """`fd`: pidfd_open(2) of it, -1 when it has ended already."""
        super().__init__(pid, host_pid)
        self._fd = fd

    def signal(self, number: int) -> None:
        if self.running and self._fd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    def first_end(self) -> asyncio.Future[None]:
        """Done when the program has ended, of which its runtime may yet have to hear."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def tell() -> None:
            loop.remove_reader(self._fd)
            if not future.done():
                future.set_result(None)

        if self._fd >= 0:
            loop.add_reader(self._fd, tell)
        else:
            future.set_result(None)
        return future

    def ended(self, status: int) -> None:
        super().ended(status)
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def _look_up(pid: int, parent: int) -> tuple[int, int]:
    """The host's number and a pidfd of a child that has that number in the lab; -1 for one that has ended. Blocks.

    `parent`: the host's number of who has started it.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1, -1
    for children in Path(f"/proc/{parent}/task").glob("*/children"):  # of each thread, of which runc has many
        for child in _read(children).split():
            status = _read(Path(f"/proc/{child}/status")).splitlines()
            numbers = next((line.split() for line in status if line.startswith("NSpid:")), [])
            if str(pid) in numbers[2:]:
                return int(child), fd
    return -1, fd


def _read(file: Path) -> str:
    with suppress(OSError):
        return file.read_text()
    return ""


def _unwanted(starting: asyncio.Task[Process]) -> None:
    """A container whose asker has gone ends as soon as it has begun."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result().signal(signal.SIGKILL)
