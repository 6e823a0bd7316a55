"""Active checks: a task for each target, which asks it now and then (`checks`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from emulab.servers.base import vital
from emulab.servers.health.checks import probe
from emulab.servers.health.config import HealthPolicy
from emulab.servers.l4.balance import BalancedTarget
from emulab.servers.l4.frontend import Frontend


class Checker:
    """The checks of one frontend."""

    def __init__(self, frontend: Frontend, emit: Callable[[dict[str, Any]], None]) -> None:
        self._frontend = frontend
        self._emit = emit
        self._tasks: dict[BalancedTarget, tuple[HealthPolicy, asyncio.Task[None]]] = {}

    def follow(self) -> None:
        """Makes the tasks those that the frontend's present configuration asks for."""
        policy = self._frontend.spec.policy
        wanted = set(self._frontend.targets) if policy else set()
        for target, (used, task) in list(self._tasks.items()):
            if target not in wanted or used != policy:
                task.cancel()
                del self._tasks[target]
        if policy is None:
            return
        loop = asyncio.get_running_loop()
        for target in self._frontend.targets:
            if target not in self._tasks:
                self._tasks[target] = (policy, vital(loop.create_task(self._check(target, policy))))

    def stop(self) -> None:
        """Ends all checks."""
        for _, task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _check(self, target: BalancedTarget, policy: HealthPolicy) -> None:
        loop = asyncio.get_running_loop()
        health, port = target.health, policy.port or target.port
        # A port of its own is somebody else's, who expects no header.
        header = 0 if policy.port else self._frontend.spec.proxy_protocol
        while True:
            health.begin(policy, loop.time())
            result = await probe(target.address, port, policy, header)
            target.checked.add(result)
            if health.record(policy, result.passed):
                target.checked.flips += not health.healthy
                self._emit({"event": "health", **self._told(target), "check": _words(*result[1:3])})
            await asyncio.sleep(max(0.0, health.due - loop.time()))

    def _told(self, target: BalancedTarget) -> dict[str, Any]:
        return {
            "frontend": self._frontend.key,
            "target": target.name,
            "address": target.endpoint,
            "healthy": target.health.healthy,
        }


def _words(word: str, detail: str) -> str:
    return f"{word}: {detail}" if detail else word
