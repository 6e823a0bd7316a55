"""The end of a Pod's sidecars once its other containers have ended for good, or never begin (KEP-753).

A kubelet ends such a Pod as one that is deleted: the hooks run, and the last sidecar goes first. It has ended, for
whoever waits for that, once they have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from emulab.kinds.core.podspec import PodSpec
from emulab.lab.kubelet import ending
from emulab.lab.kubelet.deadline import Spawn


class Parting:
    """Begins once, however often it is asked for, and once more after a fault."""

    def __init__(self, pod: ending.Endable, spec: Callable[[], PodSpec], spawn: Spawn) -> None:
        self._pod = pod
        self._spec = spec
        self._spawn = spawn
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Once, or once more where that came to nothing: a Pod is not over while one runs."""
        spec = self._spec()
        if spec.sidecars and (self._task is None or _has_failed(self._task)):
            self._task = self._spawn(ending.stop_sidecars(self._pod, spec, spec.termination_grace))

    async def over(self) -> None:
        """Begins, and returns once all sidecars have ended."""
        self.begin()
        if self._task is not None:
            await asyncio.wait((self._task,))

    def cancel(self) -> None:
        """The whole Pod is ended instead."""
        if self._task is not None:
            self._task.cancel()


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None
