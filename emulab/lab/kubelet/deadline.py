"""How long a Pod may be active (pkg/kubelet/active_deadline.go): counted from its start, whenever that was said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from emulab.cluster.controllers.world import unix_time
from emulab.model.objects import Object

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Deadline:
    def __init__(self, spawn: Spawn, expire: Callable[[], Awaitable[None]]) -> None:
        self._spawn = spawn
        self._expire = expire
        self._seconds: int | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._over = False

    def follow(self, pod: Object) -> None:
        """Takes over what the Pod says of it by now."""
        seconds = pod.spec.get("activeDeadlineSeconds")
        if seconds == self._seconds or self._over:
            return
        self.cancel()
        self._seconds = seconds
        if seconds is not None:
            now = time.time()
            begun = unix_time(pod.status.get("startTime")) or now
            self._waiting = self._spawn(self._wait(begun + seconds - now))

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
        self._over = True
        await self._expire()

    def cancel(self) -> None:
        if self._waiting is not None and not self._over:
            self._waiting.cancel()
