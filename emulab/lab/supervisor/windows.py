"""What is loaded when somebody first looks into the network of a lab: a lab starts sooner so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulab.lab.supervisor.surroundings import Surroundings

if TYPE_CHECKING:
    from emulab.lab.supervisor.observation import Observation
    from emulab.lab.supervisor.tapping import Tapping


class WindowOpener:
    """Traces of a lab, and taps in it."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def observation(self) -> Observation:
        """What a trace of this lab is made with."""

        def load_it() -> type[Observation]:
            from emulab.lab.supervisor.observation import Observation

            return Observation

        return (await asyncio.to_thread(load_it))(self._around)

    async def taps(self, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """See `Tapping.taps`."""

        def load_it() -> type[Tapping]:
            from emulab.lab.supervisor.tapping import Tapping

            return Tapping

        return await (await asyncio.to_thread(load_it))(self._around).taps(arguments)
