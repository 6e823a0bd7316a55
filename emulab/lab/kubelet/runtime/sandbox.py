"""What the containers of one pod share beside its network, and the root that each of them gets."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path

from emulab.errors import KernelError
from emulab.kernel import libc, netns
from emulab.kernel.containers import places, skeleton
from emulab.kernel.containers import sandbox as namespaces
from emulab.kernel.containers.mounts import mounts_proc
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.root import MAPPED_USERS, Root
from emulab.kernel.processes.enter import USERS, Program
from emulab.kernel.processes.members import end_members
from emulab.lab.folders import rundir
from emulab.lab.hosts.processes import Process, Processes
from emulab.lab.kubelet.runtime.interface import ContainerConfig, PodSandboxConfig
from emulab.model.shortened import NAME_MAX, shortened

_SKELETONS: dict[Path, asyncio.Future[None]] = {}
_STICKY = 0o1777
_SHARED_MEMORY = "64m"
"""The size of a pod's /dev/shm, as containerd makes it."""
_HARDENED = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
_STARTING = 10.0  # seconds that a container takes to start, on a busy machine, too
_RANGES = itertools.count(1)
_NUMBERS = itertools.count(1)


class PodSandbox:
    """One pod's. It is made when the first of its programs starts: a stand-in has none."""

    def __init__(
        self,
        processes: Processes,
        folder: Path,
        hidden: Sequence[str],
        config: PodSandboxConfig,
        node: PodSandbox | None = None,
    ) -> None:
        """`folder`: that which the lab has in memory, private to it. `hidden`: folders that no container sees.

        `node`: what the pods of its node share that ask for the host's processes or IPC, where it is one of them.
        """
        self._node = node
        self._processes = processes
        self._folder = folder
        self._hidden = hidden
        self.config = config
        # A pod may come whose name is that of one that is still going.
        self._name = f"{next(_NUMBERS)}.{shortened(config.name, NAME_MAX - 12)}"
        self._made: namespaces.Sandbox | None = None
        self._left: namespaces.Sandbox | None = None  # what was made, once nobody comes any more
        self._making = asyncio.Lock()
        self._pause: Process | None = None
        self._pid = -1  # the PID namespace of `_pause`
        self._users = -1  # the user namespace of the pod's own
        self._first_user = 0
        self._beginning: set[asyncio.Future[None]] = set()
        self._quiet = asyncio.Lock()  # held while no container may begin
        # The mount namespaces of its containers that run, where they share processes.
        self.mounts: set[int] = set()
        self.visited = False  # programs have come that are of no container, and have to end with the pod
        self.one_user = places.in_user_namespace()

    @property
    def memory(self) -> Path:
        """What its containers see as /dev/shm."""
        return self._folder / "shm" / self._name

    @property
    def stopped(self) -> bool:
        return self._made is None

    @property
    def shares_processes(self) -> bool:
        """Whether its containers' programs aren't the first ones of PID namespaces."""
        return self.config.shares_processes or self.config.host_pid

    async def make(self) -> None:
        """Makes what is shared. Raises KernelError and OSError."""
        config = self.config
        made = await asyncio.to_thread(namespaces.make, config.hostname)
        try:
            await asyncio.to_thread(self._make_folders)
            if not config.host_network:
                await asyncio.to_thread(netns.tune, config.network, self._settings())
            if self.one_user:
                await skeleton_of(self._folder / "skeleton")
        except BaseException:
            made.close()
            raise
        self._made = made

    async def join(self) -> Mapping[str, int]:
        """Descriptors of the namespaces that its programs join, by kind. Raises KernelError and OSError.

        They are taken when nothing is waited for any more: the pod may be stopped meanwhile, and the numbers another's.
        """
        self._refuse_stopped()
        if self.config.own_users:
            await self._own_users()
        if self.config.shares_processes:
            await self._shared_processes()
        of_node = await self._node.join() if self._node is not None else {}
        made = self._refuse_stopped()
        shared = {"net": self.config.network.fd, "uts": made.uts, "ipc": made.ipc}
        if self.config.own_users:
            shared[USERS] = self._users
        wanted = {"pid": self.config.host_pid, "ipc": self.config.host_ipc}
        shared |= {kind: fd for kind, fd in of_node.items() if wanted.get(kind)}
        if self.config.shares_processes:
            shared["pid"] = self._pid
        return shared

    def _refuse_stopped(self) -> namespaces.Sandbox:
        if self._made is None:
            raise KernelError(f"start a container of {self.config.name}: the pod has been stopped")
        return self._made

    def root(self, container: ContainerConfig) -> Root:
        """What a container of the pod sees."""
        return Root(
            stage=str(self._folder / "stage"),
            layers=container.layers,
            hidden=self._hidden,
            skeleton=str(self._folder / "skeleton") if self.one_user else "",
            binds=container.mounts,
            read_only=container.read_only_root,
            shared_memory=str(self._node.memory if self._node and self.config.host_ipc else self.memory),
            unmasked=container.unmasked,
            sysctls=self.config.sysctls,
            first_user=self._first_user,
        )

    async def stop(self) -> None:
        """Nobody comes any more. What is shared ends, and who is in the pod by no container that is known to run."""
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.signal(signal.SIGKILL)
        self._users, self._pid = _closed(self._users), _closed(self._pid)
        if self._made is not None:
            self._left, self._made = self._made, None
            await self._end_all(self._left)

    async def close(self) -> None:
        """Ends what a container has left among the node's processes that was killed while it began."""
        left, self._left = self._left, None
        if left is not None:
            await self._end_all(left)
            left.close()

    async def _end_all(self, made: namespaces.Sandbox) -> None:
        """Ends who has the pod's name, where others than its containers have it: visitors, or what these have left."""
        if self.visited or self.config.host_pid:
            await asyncio.to_thread(end_members, os.fstat(made.uts).st_ino, "uts")

    @asynccontextmanager
    async def beginning(self) -> AsyncIterator[None]:
        """A container begins: until its mount namespace is known, nobody takes it for what another one has left."""
        mine = asyncio.get_running_loop().create_future()
        async with self._quiet:
            self._beginning.add(mine)
        try:
            yield
        finally:
            self._beginning.discard(mine)
            mine.set_result(None)

    async def end_unseen(self) -> None:
        """Ends what a container has left that had ended before anybody could look at it: who else has the pod's name.

        It stays until the pod ends where others have that name who are in no container: visitors, OCI runtimes of a pod
        with users of its own, and containers that go on beginning.
        """
        if self._beginning:
            await asyncio.wait({*self._beginning}, timeout=_STARTING)
        async with self._quiet:
            made = self._made or self._left
            if made is None or self.visited or self.config.own_users or self._beginning:
                return
            number = os.fstat(made.uts).st_ino
            await asyncio.to_thread(lambda: end_members(number, "uts", spared={*self.mounts}))

    def remove(self) -> None:
        """Removes its files. Blocks."""
        with suppress(KernelError):
            libc.unmount(str(self.memory), libc.MNT_DETACH)
        with suppress(OSError):
            self.memory.rmdir()

    def _settings(self) -> tuple[tuple[str, str], ...]:
        """What containerd lets the programs of pods do without rights: `enable_unprivileged_ports` and `_icmp`."""
        groups = "0 0" if self.one_user else f"0 {(1 << 31) - 1}"
        return (("net/ipv4/ip_unprivileged_port_start", "0"), ("net/ipv4/ping_group_range", groups))

    def _make_folders(self) -> None:
        self.memory.mkdir()
        libc.mount("shm", str(self.memory), "tmpfs", _HARDENED, f"mode={_STICKY:o},size={_SHARED_MEMORY}")

    async def _shared_processes(self) -> None:
        """Makes the PID namespace that the pod's containers share: that of a process which does nothing else."""
        async with self._making:
            if self._pause is None or not self._pause.running:
                self._pid = _closed(self._pid)
                self._pid = await self._start_pause()

    async def _start_pause(self) -> int:
        joined = {"net": self.config.network.fd, "ipc": self._refuse_stopped().ipc}
        root = Root(stage=str(self._folder / "stage"), bare=True)
        program = Program((), {}, join=joined, fresh=("mnt", "pid"), root=root, rights=Rights())
        pause, pid = await self._pausing(program, "pid")
        if self._made is None:
            pause.signal(signal.SIGKILL)
            return _closed(pid)
        self._pause = pause
        return pid

    async def _pausing(self, program: Program, kind: str) -> tuple[Process, int]:
        """A process that pauses, and its namespace of that kind, whose maps of users are written."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            process = await self._processes.run(program, (reading, null, null), pause=True)
            folder = Path(f"/proc/{process.host_pid}")
            for name in ("uid_map", "gid_map") if kind == "user" else ():
                (folder / name).write_text(f"0 {self._first_user} {MAPPED_USERS}")
            return process, os.open(folder / "ns" / kind, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            for fd in (null, reading, writing):  # with the last it hides itself, or ends
                os.close(fd)

    async def _own_users(self) -> None:
        async with self._making:
            if self._users < 0:
                self._first_user = MAPPED_USERS * next(_RANGES)
                _, users = await self._pausing(Program((), {}, fresh=("user",)), "user")
                self._users = users if self._made is not None else _closed(users)


def _closed(fd: int) -> int:
    """Closes a descriptor, if it is one: nobody is to close it again."""
    if fd >= 0:
        os.close(fd)
    return -1


async def skeleton_of(folder: Path) -> None:
    """Makes the layer of a lab of one user, once."""
    if folder not in _SKELETONS:
        _SKELETONS[folder] = asyncio.ensure_future(asyncio.to_thread(skeleton.make, str(folder)))
    await asyncio.shield(_SKELETONS[folder])


@cache
def has_proc(folder: Path) -> bool:
    """Whether containers get a /proc of their own, tried in a folder of that name. Blocks."""
    folder.mkdir(exist_ok=True)
    return mounts_proc(str(folder))


@cache
def hidden_folders(images: Path) -> tuple[str, ...]:
    """Folders of the host that no container sees: emulab's own, and homes of others than who runs the lab."""
    own = [os.path.expanduser("~")]
    if sudo := os.environ.get("SUDO_USER"):
        own.append(os.path.expanduser(f"~{sudo}"))
    return (str(rundir.base()), str(images), *places.others_homes(own))
