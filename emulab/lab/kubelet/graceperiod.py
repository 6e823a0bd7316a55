"""How long the end of a Pod may take, whoever asks for it and however often (`calculateEffectiveGracePeriod`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from emulab.lab.kubelet.container import LEAST_GRACE
from emulab.lab.kubelet.deadline import Spawn


class GracePeriod:
    """`end` ends the Pod within so many seconds; `over` is told once it has."""

    def __init__(self, spawn: Spawn, end: Callable[[float], Coroutine[Any, Any, None]]) -> None:
        self._spawn = spawn
        self._end = end
        self._seconds = 0.0
        self._ending: asyncio.Task[None] | None = None
        self.over = False

    def begin(self, seconds: float) -> None:
        """The end begins."""
        self._seconds, self._ending = seconds, self._spawn(self._end(seconds))

    def end_at_once(self) -> None:
        """Nothing runs any more that needed time."""
        if not self.over:
            self._spawn(self._end(0.0))

    def shorten(self, seconds: float) -> None:
        """Somebody has asked again: who gives less time counts, and nobody gives more."""
        if self._ending is not None and seconds < self._seconds and not self.over:
            self._seconds = seconds
            self._spawn(self._hurry(seconds, self._ending))

    async def _hurry(self, seconds: float, slow: asyncio.Task[None]) -> None:
        await asyncio.wait((slow,), timeout=max(seconds, LEAST_GRACE))
        if not self.over:
            slow.cancel()
            await self._end(0.0)
