"""Commands that probes and hooks run in the containers of one pod."""

from __future__ import annotations

import os
from collections.abc import Callable

from emulab.kernel.processes.enter import USERS, Entry, Program
from emulab.kinds.core.podspec import Container
from emulab.lab.hosts.processes import Process, Processes
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.container import capture
from emulab.lab.kubelet.environs import Environs
from emulab.lab.kubelet.httpget import LIMIT
from emulab.lab.kubelet.programs import has_word, missing_word
from emulab.lab.kubelet.telling import Said

NAMESPACES = ("pid", "net", "uts", "ipc", "cgroup", "mnt")
"""Those in which a container's program is."""

Result = tuple[int, str]
"""A command's exit status, and the beginning of what it printed."""


class Commands:
    def __init__(
        self, processes: Processes, environs: Environs, tell: Callable[[Container, Said], None]
    ) -> None:
        self._processes = processes
        self._environs = environs
        self._tell = tell
        self._noted: set[tuple[str, str]] = set()  # containers and programs that were told not to be here

    async def run(self, container: Container, process: Process | None, command: tuple[str, ...]) -> Result:
        """Runs a command beside a container's program, or in the surroundings that its stand-in has none of.

        A program of the image that a stand-in stands for isn't here, and would have done well.
        """
        if process is not None and process.running:
            return await self._inside(container, process.host_pid, command)
        here = container.image_id is not None or has_word(container, command[0])
        missing = "" if here else command[0]
        if not missing:
            status, output = await self._capture(await self._environs.beside(container, command))
            missing = missing_word(container, command, status, output) if container.image_id is None else ""
            if not missing:
                return status, output
        if (container.name, missing) not in self._noted:
            self._noted.add((container.name, missing))
            self._tell(container, telling.without_program(missing))
        return 0, ""

    async def _inside(self, container: Container, pid: int, command: tuple[str, ...]) -> Result:
        """Runs a command in the namespaces of a program; `pid` is the host's."""
        paths = {kind: f"/proc/{pid}/ns/{kind}" for kind in NAMESPACES}
        if self._environs.sandbox.own_users:
            paths[USERS] = f"/proc/{pid}/ns/user"
        joined = Entry(paths).open()
        try:
            return await self._capture(self._environs.inside(container, command, joined))
        finally:
            for fd in joined.values():
                os.close(fd)

    async def _capture(self, program: Program) -> Result:
        return await capture(self._processes, program, LIMIT)
