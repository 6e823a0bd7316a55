"""Commands that probes and hooks run in the containers of one pod."""

from __future__ import annotations

from collections.abc import Callable

from emulab.kinds.core.podspec import Container
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.container import ContainerRunner
from emulab.lab.kubelet.environs import Environs
from emulab.lab.kubelet.httpget import LIMIT
from emulab.lab.kubelet.programs import client_in, has_word, missing_word
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

        A program of the image that a stand-in stands for isn't here, and would have done well; so would one that asks
        the image's own server in a protocol that no stand-in speaks.
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
            client = client_in(command) if status and not container.command else ""
            if not missing and not client:
                return status, output
            if not missing:
                return self._passed(container, client, telling.without_server(client))
        return self._passed(container, missing, telling.without_program(missing))

    def _passed(self, container: Container, program: str, said: Said) -> Result:
        """As if the command had done well, of which it is told once."""
        if (container.name, program) not in self._noted:
            self._noted.add((container.name, program))
            self._tell(container, said)
        return 0, ""
