"""emulab's own runtime: a container's program is a fork of the spawner that makes its own root and bounds itself.

`docs/containers.md` says what that takes beside crun and runc.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.cgroups.cgroup import Cgroup
from emulab.kernel.cgroups.sweeping import remove
from emulab.kernel.cgroups.usage import oom_kills
from emulab.kernel.containers.places import in_user_namespace
from emulab.kernel.containers.seccomp import has_filter
from emulab.kernel.processes.enter import USERS, Entry, Program
from emulab.lab.hosts.processes import Process, Processes
from emulab.lab.kubelet.confinement import Machine
from emulab.lab.kubelet.runtime.created import Created
from emulab.lab.kubelet.runtime.interface import (
    COMPLETED,
    CREATED,
    EXITED,
    FAILED,
    OOM_KILLED,
    RUNNING,
    ContainerConfig,
    ContainerStatus,
    ExecResult,
    PodSandboxConfig,
    RuntimeStatus,
    RuntimeVersion,
    Stdio,
)
from emulab.lab.kubelet.runtime.output import capture
from emulab.lab.kubelet.runtime.sandbox import PodSandbox, has_proc
from emulab.model.shortened import shortened

_ID = 128
"""The longest id of a container, but for the number behind it, in octets."""
NAMESPACES = ("pid", "net", "uts", "ipc", "cgroup", "mnt")
"""Those in which a container's program is."""


class BuiltinRuntime:
    """The runtime of one lab."""

    def __init__(self, processes: Processes, folder: Path, hidden: Sequence[str]) -> None:
        """`folder`: that which the lab has in memory. `hidden`: folders of the host that no container sees."""
        self._processes = processes
        self._folder = folder
        self._hidden = hidden
        self._sandboxes: dict[str, PodSandbox] = {}
        self._nodes: dict[str, PodSandbox] = {}
        self._noding = asyncio.Lock()
        self._containers: dict[str, Created] = {}
        self._numbers = itertools.count(1)
        self._kills: dict[tuple[str, ...], int] = {}  # of lives before, in a cgroup that has outlived them
        self._ready: RuntimeStatus | None = None

    async def version(self) -> RuntimeVersion:
        version = ""
        with suppress(metadata.PackageNotFoundError):  # a checkout that nobody has installed
            version = await asyncio.to_thread(metadata.version, "emulab")
        return RuntimeVersion("builtin", version)

    async def status(self) -> RuntimeStatus:
        if self._ready is None:
            proc = await asyncio.to_thread(has_proc, self._folder / "try")
            machine = Machine(in_user_namespace(), has_filter(), proc, libc.permitted_capabilities())
            self._ready = RuntimeStatus(True, "", machine)
        return self._ready

    # sandboxes

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str:
        node = await self._shared_by_node(config) if config.host_pid or config.host_ipc else None
        made = PodSandbox(self._processes, self._folder, self._hidden, config, node)
        await made.make()
        id = f"{config.name}-{next(self._numbers)}"
        self._sandboxes[id] = made
        return id

    async def _shared_by_node(self, config: PodSandboxConfig) -> PodSandbox:
        """What the pods of a node share that ask for the host's processes or IPC: it is there as long as the lab."""
        async with self._noding:
            if config.node not in self._nodes:
                network = config.node_network or config.network
                own = PodSandboxConfig(config.node, config.node, network, True, shares_processes=True)
                made = PodSandbox(self._processes, self._folder, self._hidden, own)
                await made.make()
                self._nodes[config.node] = made
            return self._nodes[config.node]

    async def stop_pod_sandbox(self, sandbox: str) -> None:
        made = self._sandboxes.get(sandbox)
        if made is None:
            return
        there = [c for c in self._containers.values() if c.sandbox is made]
        await made.stop()
        await asyncio.gather(*(container.end() for container in there))
        await made.close()
        for folders in filter(None, (container.folders for container in there)):
            await asyncio.to_thread(remove, folders)

    async def remove_pod_sandbox(self, sandbox: str) -> None:
        made = self._sandboxes.pop(sandbox, None)
        if made is not None:
            for id in [id for id, c in self._containers.items() if c.sandbox is made]:
                self._containers.pop(id).close()
            await asyncio.to_thread(made.remove)

    def is_stopped(self, sandbox: str) -> bool:
        made = self._sandboxes.get(sandbox)
        return made is None or made.stopped

    # containers

    async def create_container(self, sandbox: str, config: ContainerConfig) -> str:
        if sandbox not in self._sandboxes:
            raise KernelError(f"create container {config.name}: there is no sandbox {sandbox}")
        # which is a file's name, too, where an OCI runtime takes it
        id = f"{shortened(f'{sandbox}-{config.name}', _ID)}-{next(self._numbers)}"
        self._containers[id] = Created(id, self._sandboxes[sandbox], config)
        return id

    async def start_container(self, container: str, stdio: Stdio) -> None:
        made = self._known(container)
        kept = tuple(os.dup(fd) for fd in stdio)  # who asks may go, and close them
        made.starting = asyncio.ensure_future(self._start(made, kept[0], kept[1], kept[2]))
        try:
            await asyncio.shield(made.starting)
        except asyncio.CancelledError:
            made.wanted = False
            raise

    async def _start(self, made: Created, *stdio: int) -> None:
        """A container whose asker has gone ends as soon as it has begun, with whatever it has started by then."""
        try:
            async with made.sandbox.beginning():
                made.begun(await self._launch(made, (stdio[0], stdio[1], stdio[2])))
        finally:
            for fd in stdio:
                os.close(fd)
        if not made.wanted:
            await made.kill()

    async def _launch(self, container: Created, stdio: Stdio) -> Process:
        """Starts the program of a container. Raises KernelError and OSError."""
        return await self._processes.run(await self._program(container.sandbox, container.config), stdio)

    async def wait_container(self, container: str) -> int:
        made = self._known(container)
        if made.process is None:
            raise KernelError(f"wait for container {container}: it has not been started")
        status = await made.process.wait()
        await made.end_rest()  # as containerd's shim does
        return status

    def _known(self, container: str) -> Created:
        made = self._containers.get(container)
        if made is None:
            raise KernelError(f"there is no container {container} any more")
        return made

    async def stop_container(self, container: str, timeout: float) -> None:
        made = self._containers.get(container)
        if made is None or made.process is None:
            return
        if timeout > 0:
            made.process.signal(made.config.stop_signal)
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await made.process.wait()
        made.process.signal(signal.SIGKILL)
        await made.process.wait()

    async def remove_container(self, container: str) -> None:
        made = self._containers.pop(container, None)
        if made is None:
            return
        await made.end()
        made.close()
        folders = made.folders
        if not folders:
            return
        if await asyncio.to_thread(remove, folders):
            self._kills.pop(folders, None)
        else:
            self._kills[folders] = await asyncio.to_thread(oom_kills, folders)

    async def container_status(self, container: str) -> ContainerStatus:
        """It is said to have starved when any of its processes was killed, as containerd does (`TaskOOM`)."""
        status, made = self.find_status(container), self._containers.get(container)
        if status.running or made is None:
            return status
        kills = await asyncio.to_thread(oom_kills, made.folders) if made.folders else 0
        starved = kills > self._kills.get(made.folders, 0)
        ended = FAILED if status.exit_code else COMPLETED
        reason = OOM_KILLED if starved else ended if made.process is not None else ""
        return status._replace(reason=reason)

    def find_status(self, container: str) -> ContainerStatus:
        made = self._containers.get(container)
        if made is None:
            return ContainerStatus(EXITED)
        if made.process is None:
            return ContainerStatus(CREATED)
        state = RUNNING if made.process.running else EXITED
        return ContainerStatus(state, made.process.host_pid, made.process.status)

    def is_enterable(self, container: str) -> bool:
        made = self._containers.get(container)
        return made is not None and made.is_enterable

    # other programs

    async def exec_sync(self, container: str, argv: Sequence[str], limit: int) -> ExecResult:
        config = self._known(container).config
        joined = Entry(self._namespaces(container)).open()

        async def start(stdio: Stdio) -> Process:
            process = await self._processes.run(program, stdio)
            if not self.is_enterable(container):
                process.signal(signal.SIGKILL)
            return process

        try:
            program = Program(argv, join=joined, **self._inside(config))
            return await capture(start, limit)
        finally:
            for fd in joined.values():
                os.close(fd)

    def exec(self, container: str) -> Mapping[str, Any]:
        inside = self._inside(self._known(container).config)
        values = {name: asdict(inside[name]) if inside[name] else None for name in ("cgroup", "rights")}
        return {**inside, **values, "join": self._namespaces(container), "fresh": []}

    def _namespaces(self, container: str) -> Mapping[str, str]:
        """Paths of the namespaces of a container that runs, by kind. Raises KernelError."""
        made = self._known(container)
        if made.process is None or not made.process.running or made.folder < 0:
            raise KernelError(f"execute in container {container}: it does not run")
        folder = f"{_own_process()}/fd/{made.folder}/ns"
        paths = {kind: f"{folder}/{kind}" for kind in NAMESPACES}
        return {**paths, USERS: f"{folder}/user"} if made.sandbox.config.own_users else paths

    @staticmethod
    def _inside(config: ContainerConfig) -> dict[str, Any]:
        """What another program of a container has beside its namespaces: the fields of `enter.Program`."""
        return {
            "environment": config.environment,
            "working_directory": config.working_directory,
            "cgroup": Cgroup(enter=config.cgroup.enter) if config.cgroup is not None else None,
            "rights": config.rights,
        }

    async def run_sync(self, sandbox: str, config: ContainerConfig, limit: int) -> ExecResult:
        id = await self.create_container(sandbox, config)
        made = self._containers[id]

        async def start(stdio: Stdio) -> Process:
            async with made.sandbox.beginning():
                process = await self._launch(made, stdio)
                made.begun(process)
            return process

        try:
            return await capture(start, limit)
        finally:
            await made.end_rest()
            made.close()
            self._containers.pop(id, None)

    async def run(self, sandbox: str, config: ContainerConfig) -> Mapping[str, Any]:
        made = self._sandboxes[sandbox]
        made.visited = True
        program = await self._program(made, config)
        process = _own_process()
        # its root is built in the mount namespace that has the folder in memory
        joined = {kind: f"{process}/fd/{fd}" for kind, fd in program.join.items()}
        described = {
            k: v for k, v in asdict(program).items() if k not in ("argv", "join", "runtime", "terminal")
        }
        return {**described, "join": {**joined, "mnt": f"{process}/ns/mnt"}}

    async def _program(self, sandbox: PodSandbox, config: ContainerConfig) -> Program:
        """A container's program. Raises KernelError and OSError."""
        shared = await sandbox.join()
        return Program(
            argv=config.argv,
            environment=config.environment,
            working_directory=config.working_directory,
            join=shared,
            fresh=("mnt", "cgroup") if "pid" in shared else ("mnt", "cgroup", "pid"),
            cgroup=config.cgroup,
            root=sandbox.root(config),
            rights=config.rights,
        )


def _own_process() -> str:
    """Where this process is in /proc, as the host numbers it."""
    return f"/proc/{os.readlink('/proc/self')}"
