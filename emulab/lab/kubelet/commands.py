"""Commands that probes and hooks run in the containers of one pod."""

from __future__ import annotations

from collections.abc import Callable

from emulab.kinds.core.podspec import Container
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.container import ContainerRunner
from emulab.lab.kubelet.environs import Environs
from emulab.lab.kubelet.httpget import LIMIT
from emulab.lab.kubelet.programs import has_word, missing_word
from emulab.lab.kubelet.telling import Said

Result = tuple[int, str]
"""A command's exit status, and the beginning of what it printed."""


class Commands:
    def __init__(self, environs: Environs, tell: Callable[[Container, Said], None]) -> None:
        self._environs = environs
        self._tell = tell
        self._noted: set[tuple[str, str]] = set()  # containers and programs that were told not to be here

    async def run(
        self, container: Container, runner: ContainerRunner | None, command: tuple[str, ...]
    ) -> Result:
        """Runs a command beside a container's program, or in the surroundings that its stand-in has none of.

        A program of the image that a stand-in stands for isn't here, and would have done well.
        """
        runtime = self._environs.runtime
        if runner is not None and runner.running:
            return await runtime.exec_sync(runner.id, command, LIMIT)
        here = container.image_id is not None or has_word(container, command[0])
        missing = "" if here else command[0]
        if not missing:
            config = await self._environs.beside(container, command)
            status, output = await runtime.run_sync(await self._environs.sandbox(), config, LIMIT)
            missing = missing_word(container, command, status, output) if container.image_id is None else ""
            if not missing:
                return status, output
        if (container.name, missing) not in self._noted:
            self._noted.add((container.name, missing))
            self._tell(container, telling.without_program(missing))
        return 0, ""
