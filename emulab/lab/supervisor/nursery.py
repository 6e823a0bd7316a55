"""Has the namespaces of many new pods made while the rest of the plan is still worked out.

Which they are is known once controllers and allocation have come to rest; the plan takes as long again, and the kernel
half of the time that the namespaces of thousands of pods take could be over by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from emulab.errors import KernelError
from emulab.kernel import ahead
from emulab.kernel.netns import Handle
from emulab.lab.client.waiting import readable
from emulab.lab.hosts import helpers
from emulab.lab.hosts.processes import Processes
from emulab.plan.state import Namespace

MANY = 500
"""Namespaces that are worth a process."""


class Nursery:
    """The namespaces that are being made, of one pass."""

    def __init__(self, processes: Processes, loop: asyncio.AbstractEventLoop) -> None:
        self._processes, self._loop = processes, loop
        self._making: asyncio.Task[dict[Namespace, Handle]] | None = None

    def expect(self, namespaces: Sequence[Namespace]) -> None:
        """Begins to make them, unless others are being made; from any thread. They are to be taken, whatever becomes of
        the plan."""
        self._loop.call_soon_threadsafe(self._begin, namespaces)

    def _begin(self, namespaces: Sequence[Namespace]) -> None:
        if self._making is None:
            self._making = self._loop.create_task(self._made(namespaces))

    async def take(self) -> Mapping[Namespace, Handle]:
        """Those that could be made, once all are; whoever doesn't want one closes it."""
        if self._making is None:
            return {}
        made = await asyncio.shield(self._making)
        self._making = None
        return made

    async def _made(self, namespaces: Sequence[Namespace]) -> dict[Namespace, Handle]:
        made: dict[Namespace, Handle] = {}
        try:
            with await helpers.begin(self._processes, "namespaces", ahead.told(namespaces)) as process:
                while len(made) < len(namespaces):
                    await readable(process.fileno())
                    expected = namespaces[len(made) : len(made) + ahead.LOT]
                    if not (lot := ahead.receive(process, expected)):
                        break
                    made |= zip(expected, lot, strict=False)
        except (KernelError, OSError):
            pass  # what is missing is made in its turn, and told of if it can't be
        return made
