"""What the containers of one pod share beside its network, and the root that each of them gets."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from emulab.kernel import netns
from emulab.kernel.containers import places, skeleton
from emulab.kernel.containers import sandbox as namespaces
from emulab.kernel.containers.mounts import mounts_proc
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.root import Bind, Root
from emulab.kernel.processes.enter import USERS, Program
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.folders import private, rundir
from emulab.lab.hosts.processes import Process
from emulab.lab.supervisor.surroundings import Surroundings, write_place_files
from emulab.model.shortened import NAME_MAX, shortened
from emulab.plan.state import Place

_SKELETONS: dict[Path, asyncio.Future[None]] = {}
_STICKY = 0o1777
_USERS = 1 << 16
"""How many users a pod has of its own, as the kubelet gives each (KEP-127)."""
_RANGES = itertools.count(1)


class PodSandbox:
    """One pod's. It is made when the first of its programs starts: a stand-in has none."""

    def __init__(self, around: Surroundings, spec: PodSpec, name: str) -> None:
        """`name`: of the pod's place."""
        self._around = around
        self._spec = spec
        self._name = shortened(name, NAME_MAX)
        self._made: namespaces.Sandbox | None = None
        self._making = asyncio.Lock()
        self._pause: Process | None = None
        self._pid = -1  # the PID namespace of `_pause`
        self._users = -1  # the user namespace of the pod's own
        self._first_user = 0
        self.has_proc = True
        self.one_user = places.in_user_namespace()

    @property
    def _folder(self) -> Path:
        return private.folder(self._around.folder)

    @property
    def files(self) -> Path:
        """Where programs are that containers find because of their image's name."""
        return self._folder / "files"

    async def join(self, place: Place) -> Mapping[str, int]:
        """Descriptors of the namespaces that its programs join, by kind. Raises KernelError and OSError."""
        async with self._making:
            if self._made is None:
                await self._make(place)
        assert self._made is not None
        shared = {"uts": self._made.uts, "ipc": self._made.ipc}
        if self.own_users:
            shared[USERS] = await self._own_users()
        if self._spec.security.shares_processes:
            shared["pid"] = await self._shared_processes(place)
        return shared

    def root(self, container: Container, place: Place, volumes: Sequence[Bind]) -> Root:
        """What a container of the pod sees. Raises KernelError."""
        own = self._folder / "sandbox" / self._name
        files = write_place_files(self._around, place, own, everywhere=True)
        return Root(
            stage=str(self._folder / "stage"),
            hidden=_hidden(self._around.images.folder),
            skeleton=str(self._folder / "skeleton") if self.one_user else "",
            binds=_in_order((*(Bind(source, target) for target, source in files.items()), *volumes)),
            read_only=container.security.read_only_root,
            shared_memory=str(self._folder / "shm" / self._name),
            unmasked=container.security.unmasked,
            sysctls=dict(self._spec.security.sysctls),
            first_user=self._first_user,
        )

    async def close(self) -> None:
        """Ends what is shared; programs that are still there keep what they have."""
        if self._users >= 0:
            os.close(self._users)
        if self._pause is not None:
            self._pause.signal(signal.SIGKILL)
            os.close(self._pid)
        async with self._making:
            made, self._made = self._made, None
            if made is not None:
                made.close()
                await asyncio.to_thread(self._remove_folders)

    async def _make(self, place: Place) -> None:
        made = await asyncio.to_thread(namespaces.make, place.hostname)
        try:
            await asyncio.to_thread(self._make_folders)
            if not self._spec.host_network:
                await asyncio.to_thread(netns.tune, self._around.handles[place.namespace], self._settings())
            if self.one_user:
                await skeleton_of(self._folder / "skeleton")
        except BaseException:
            made.close()
            raise
        self._made = made

    def _settings(self) -> tuple[tuple[str, str], ...]:
        """What containerd lets the programs of pods do without rights: `enable_unprivileged_ports` and `_icmp`."""
        groups = "0 0" if self.one_user else f"0 {(1 << 31) - 1}"
        return (("net/ipv4/ip_unprivileged_port_start", "0"), ("net/ipv4/ping_group_range", groups))

    def _make_folders(self) -> None:
        self.has_proc = _has_proc(self._folder / "try")
        memory = self._folder / "shm" / self._name
        memory.mkdir(exist_ok=True)
        memory.chmod(_STICKY)

    def _remove_folders(self) -> None:
        for part in ("shm", "sandbox"):
            shutil.rmtree(self._folder / part / self._name, ignore_errors=True)

    async def _shared_processes(self, place: Place) -> int:
        """The PID namespace that the pod's containers share: that of a process which does nothing else."""
        async with self._making:
            if self._pause is None or not self._pause.running:
                self._pid = await self._start_pause(place)
            return self._pid

    async def _start_pause(self, place: Place) -> int:
        assert self._made is not None
        joined = {"net": self._around.handles[place.namespace].fd, "ipc": self._made.ipc}
        root = Root(stage=str(self._folder / "stage"), bare=True)
        program = Program((), {}, join=joined, fresh=("mnt", "pid"), root=root, rights=Rights())
        self._pause, pid = await self._pausing(program, "pid")
        return pid

    async def _pausing(self, program: Program, kind: str) -> tuple[Process, int]:
        """A process that pauses, and its namespace of that kind, whose maps of users are written."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            process = await self._around.processes.run(program, (reading, null, null), pause=True)
            folder = Path(f"/proc/{process.host_pid}")
            for name in ("uid_map", "gid_map") if kind == "user" else ():
                (folder / name).write_text(f"0 {self._first_user} {_USERS}")
            return process, os.open(folder / "ns" / kind, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            for fd in (null, reading, writing):  # with the last it hides itself, or ends
                os.close(fd)

    @property
    def own_users(self) -> bool:
        """Whether the pod's users are its own: as root alone, who has users to give."""
        asked = self._spec.security.own_users
        default = not self._spec.host_network and cluster_of(self._around.store.objects()).user_namespaces
        return not self.one_user and (default if asked is None else asked)

    async def _own_users(self) -> int:
        async with self._making:
            if self._users < 0:
                self._first_user = _USERS * next(_RANGES)
                _, self._users = await self._pausing(Program((), {}, fresh=("user",)), "user")
            return self._users


async def skeleton_of(folder: Path) -> None:
    """Makes the layer of a lab of one user, once."""
    if folder not in _SKELETONS:
        _SKELETONS[folder] = asyncio.ensure_future(asyncio.to_thread(skeleton.make, str(folder)))
    await asyncio.shield(_SKELETONS[folder])


@cache
def _has_proc(folder: Path) -> bool:
    """Whether containers get a /proc of their own. Blocks."""
    folder.mkdir(exist_ok=True)
    return mounts_proc(str(folder))


def _in_order(binds: Iterable[Bind]) -> tuple[Bind, ...]:
    """Outer folders before what is in them, as containerd mounts; of two at one place the last one is seen."""
    return tuple(sorted(binds, key=lambda bind: bind.target.rstrip("/").count("/")))


@cache
def _hidden(images: Path) -> tuple[str, ...]:
    """Folders of the host that no container sees: emulab's own, and homes of others than who runs the lab."""
    own = [os.path.expanduser("~")]
    if sudo := os.environ.get("SUDO_USER"):
        own.append(os.path.expanduser(f"~{sudo}"))
    return (str(rundir.base()), str(images), *places.others_homes(own))
