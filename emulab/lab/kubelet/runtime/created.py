"""A container as a runtime keeps it: its program, who else may enter it, and the end of what that leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

from emulab.errors import KernelError
from emulab.kernel.processes.members import end_members
from emulab.lab.hosts.processes import Process
from emulab.lab.kubelet.runtime.interface import ContainerConfig
from emulab.lab.kubelet.runtime.sandbox import PodSandbox


class Created:
    """A container of a sandbox, and what became of it."""

    def __init__(self, id: str, sandbox: PodSandbox, config: ContainerConfig) -> None:
        self.id = id
        self.sandbox = sandbox
        self.config = config
        self.starting: asyncio.Future[None] | None = None
        self.wanted = True
        self.process: Process | None = None
        self.folder = -1
        """Of its program in /proc. Its number may be another process's as soon as it has ended; what is open isn't."""
        self._mounts = -1
        """Its mount namespace, where others are in its PID namespace: the number isn't another's while it is open."""
        self._number = -1  # of that mount namespace
        self._unseen = False
        """Whether it had ended before it could be looked at, and has others in its PID namespace."""
        self._ending: asyncio.Future[Any] | None = None

    def begun(self, process: Process) -> None:
        """Its program runs. Saying so again changes nothing."""
        if self.process is not None:
            return
        self.process = process
        with suppress(OSError):
            self.folder = os.open(f"/proc/{process.host_pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            if not _is_in(self.folder, process.pid):
                self.close()
            elif self.sandbox.shares_processes:
                self._mounts = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.folder)
                self._number = os.fstat(self._mounts).st_ino
                self.sandbox.mounts.add(self._number)
        self._unseen = self.sandbox.shares_processes and self._mounts < 0

    def close(self) -> None:
        """It has ended, or isn't to be entered any more."""
        for fd in (self.folder, self._mounts):
            if fd >= 0:
                os.close(fd)
        self.folder = self._mounts = -1

    async def end(self) -> None:
        """Ends it, also when it has yet to begin; returns when it has ended."""
        if self.starting is not None:
            self.wanted = False
            with suppress(KernelError, OSError):  # as who has started it was told
                await asyncio.shield(self.starting)
        await self.kill()

    async def kill(self) -> None:
        if self.process is not None:
            self.process.signal(signal.SIGKILL)
            await self.end_rest()
            await self.process.wait()

    async def end_rest(self) -> None:
        """Ends what its program has left behind, where that isn't the first of its PID namespace.

        Who is cancelled leaves it to be done.
        """
        if self._mounts >= 0 and self._ending is None:
            self._ending = asyncio.ensure_future(asyncio.to_thread(_end_all_in, self._mounts))
            self.sandbox.mounts.discard(self._number)
        elif self._unseen and self._ending is None:
            self._ending = asyncio.ensure_future(self.sandbox.end_unseen())
        self._mounts = -1
        if self._ending is not None:
            await asyncio.shield(self._ending)

    @property
    def is_enterable(self) -> bool:
        """Whether somebody who enters now ends with it: no longer once its rest is being ended."""
        return self.wanted and self._ending is None and self.process is not None and self.process.running

    @property
    def folders(self) -> tuple[str, ...]:
        """Those of its cgroup, one for each hierarchy."""
        return tuple(self.config.cgroup.enter) if self.config.cgroup is not None else ()


def _is_in(folder: int, pid: int) -> bool:
    """Whether a process has that number in the lab, by its folder in /proc. Raises OSError when it has ended."""
    with open(os.open("status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)) as status:
        numbers = next((line.split() for line in status if line.startswith("NSpid:")), [])
    return str(pid) in numbers[2:]


def _end_all_in(mounts: int) -> bool:
    """Kills who is in an open mount namespace, which is closed then; whether nobody is left. Blocks."""
    try:
        return end_members(os.fstat(mounts).st_ino)
    finally:
        os.close(mounts)
