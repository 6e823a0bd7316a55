"""CNI plug-ins as programs on a node: in its network, and in a file system of which nothing comes back to the host.

They see the host's files, copy-on-write, and of the host's /run and /var/lib/cni nothing: each node has such folders of
its own in the lab's memory, where host-local notes its addresses, and they go with the lab. All plug-ins of a node have
one such file system, as to make one takes as long as a plug-in does; each sees the namespace of its pod in a copy.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from emulab.kernel import plugins
from emulab.kernel.containers.places import in_user_namespace
from emulab.kernel.containers.rights import DEFAULT_CAPABILITIES, Rights
from emulab.kernel.containers.root import Bind, Root
from emulab.kernel.netns import Handle
from emulab.kernel.processes.enter import SHOWN, Program
from emulab.lab.cni.configuration import PluginError, failure
from emulab.lab.folders import private, rundir
from emulab.lab.hosts.processes import Process, StartError
from emulab.lab.kubelet.runtime.sandbox import skeleton_of
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.memoryfile import memory_file

PATIENCE = 15.0
"""Seconds for which a plug-in may run: those that we know take some hundredths."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAPABILITIES = (*(c for c in DEFAULT_CAPABILITIES if c != "MKNOD"), "NET_ADMIN", "SYS_ADMIN")
"""Those without which nobody makes an interface in another network namespace. None opens the machine's devices."""
_SHARED = ("mnt", "pid")
_MOST = 1 << 20  # bytes that are read of what a plug-in prints


class PluginPrograms:
    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self.folders = plugins.folders()
        self._containers: dict[str, _NodeContainer] = {}
        self._making = asyncio.Lock()

    async def run(
        self, node: str, plugin: str, environment: dict[str, str], told: bytes, namespace: int, path: str
    ) -> bytes:
        """Runs a plug-in on a node: what it printed. Raises PluginError, KernelError and OSError.

        `namespace` is an open network namespace, that the plug-in finds at `path`.
        """
        file = await asyncio.to_thread(plugins.file_of, plugin)
        if not file:
            raise PluginError(f'failed to find plugin "{plugin}" in path [{" ".join(self.folders)}]')
        handle = self._around.handles[node]
        container = await self._container(node, handle)
        program = Program(
            argv=(file,),
            environment={"PATH": _PATH, **environment},
            join={"net": handle.fd, **container.joined, SHOWN: namespace},
            fresh=("mnt",),
            files={path: SHOWN},
            rights=Rights(
                groups=None if in_user_namespace() else (),
                capabilities=_CAPABILITIES,
                seccomp="none",
            ),
        )
        try:
            status, printed, complained = await self._to_its_end(program, told)
        except StartError as error:
            raise PluginError(f"fork/exec {file}: {error}") from None
        if status is None:
            raise PluginError(
                f"netplugin failed with no error message: signal: killed, as it hadn't ended after {PATIENCE:g} s"
            )
        if status:
            raise PluginError(failure(status, printed, complained))
        return printed

    def release(self) -> None:
        """Lets go of nodes that are gone."""
        for node, container in list(self._containers.items()):
            if self._around.handles.get(node) is not container.handle:
                del self._containers[node]
                container.close()

    async def _container(self, node: str, handle: Handle) -> _NodeContainer:
        """That of a node, made when its first plug-in is called."""
        async with self._making:
            known = self._containers.get(node)
            if known is not None and known.handle is handle and known.process.running:
                return known
            if known is not None:
                self._containers.pop(node).close()
            made = self._containers[node] = await self._made(node, handle)
            return made

    async def _made(self, node: str, handle: Handle) -> _NodeContainer:
        program = Program(
            argv=(),
            environment={},
            join={"net": handle.fd},
            fresh=_SHARED,
            root=await self._root(node),
        )
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            process = await self._around.processes.run(program, (reading, null, null), pause=True)
            folder = f"/proc/{process.host_pid}/ns"
            opened = {kind: os.open(f"{folder}/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in _SHARED}
            return _NodeContainer(process, handle, opened)
        finally:
            for fd in (null, reading, writing):  # with the last it hides itself
                os.close(fd)

    async def _to_its_end(self, program: Program, told: bytes) -> tuple[int | None, bytes, bytes]:
        """The exit status (None: it was ended), and what came out of it."""
        printed, complained = _Outlet(), _Outlet()
        try:
            with memory_file(told) as file:
                file.seek(0)
                stdio = (file.fileno(), printed.writing, complained.writing)
                process = await self._around.processes.run(program, stdio)
            status = await _end(process)
            return status, printed.content(), complained.content()
        finally:
            printed.close()
            complained.close()

    async def _root(self, node: str) -> Root:
        lab = private.folder(self._around.folder)
        own = lab / "cni" / node
        shown = await asyncio.to_thread(_prepare, own, self.folders)
        if in_user_namespace():
            await skeleton_of(lab / "skeleton")
        return Root(
            stage=str(lab / "stage"),
            hidden=(str(rundir.base()),),
            skeleton=str(lab / "skeleton") if in_user_namespace() else "",
            binds=(Bind(str(own / "run"), "/run"), Bind(str(own / "lib"), "/var/lib/cni"), *shown),
            network_settings=True,
        )

    def forget(self, node: str, path: str) -> None:
        """Takes away what is left of a namespace's place when nothing is mounted there any more."""
        own = private.folder(self._around.folder) / "cni" / node
        with suppress(OSError):
            (own / path.lstrip("/")).unlink()


def _prepare(own: Path, folders: Iterable[str]) -> list[Bind]:
    """Makes a node's own folders. Those that there are of plug-ins, wherever they lie on the host."""
    for name in ("run/netns", "lib"):
        (own / name).mkdir(parents=True, exist_ok=True)
    return [Bind(folder, folder, read_only=True) for folder in folders if os.path.isdir(folder)]


class _NodeContainer:
    """What the plug-ins of one node share: the file system that they see, and their processes' numbers."""

    def __init__(self, process: Process, handle: Handle, joined: Mapping[str, int]) -> None:
        self.process = process  # with which all others end
        self.handle = handle
        self.joined = joined

    def close(self) -> None:
        self.process.signal(signal.SIGKILL)
        for fd in self.joined.values():
            os.close(fd)


async def _end(process: Process) -> int | None:
    """The exit status; None where it had to be ended. Who is cancelled ends it."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        process.signal_group(signal.SIGKILL)


class _Outlet:
    """A pipe of which is kept what came out of it, up to a limit."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.writing, True)
        self._came = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.reading, self._read)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            if chunk := os.read(self.reading, 1 << 16):
                self._came.extend(chunk[: _MOST - len(self._came)])
            else:
                self._loop.remove_reader(self.reading)

    def content(self) -> bytes:
        """All that has come by now."""
        self._read()  # a pipe has no more than that
        return bytes(self._came)

    def close(self) -> None:
        self._loop.remove_reader(self.reading)
        for fd in (self.reading, self.writing):
            os.close(fd)
