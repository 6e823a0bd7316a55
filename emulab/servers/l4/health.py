"""Active checks: a task for each thing that is asked now and then (`checks`).

Whoever asks a target the same is told by one check: the ports of a Service that all ask its healthCheckNodePort, as a
cloud's balancer has one health check for a Service and not one for each port.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from emulab.servers.base import vital
from emulab.servers.health.checks import probe
from emulab.servers.health.config import HealthPolicy
from emulab.servers.health.state import CheckResult
from emulab.servers.l4.balance import BalancedTarget
from emulab.servers.l4.frontend import Frontend


class SharedCheck(NamedTuple):
    """What is asked of whom."""

    address: str
    port: int
    policy: HealthPolicy
    header: int  # the version of the PROXY protocol, or 0


Hearing = Callable[[CheckResult], None]
"""Who is told what came of a check."""


class Checks:
    """Those of all frontends of a server."""

    def __init__(self) -> None:
        self._running: dict[SharedCheck, tuple[dict[BalancedTarget, Hearing], asyncio.Task[None]]] = {}

    def join(self, asked: SharedCheck, target: BalancedTarget, hearing: Hearing) -> None:
        """Somebody wants to know, too: it is asked at once."""
        members: dict[BalancedTarget, Hearing] = {}
        if asked in self._running:
            members, task = self._running[asked]
            task.cancel()
        members[target] = hearing
        task = vital(asyncio.get_running_loop().create_task(_check(asked, members)))
        self._running[asked] = members, task

    def leave(self, asked: SharedCheck, target: BalancedTarget) -> None:
        """Somebody doesn't want to know any more."""
        members, task = self._running[asked]
        del members[target]
        if not members:
            task.cancel()
            del self._running[asked]


async def _check(asked: SharedCheck, members: dict[BalancedTarget, Hearing]) -> None:
    """Targets that are asked for the first time together aren't ever after: as with HAProxy checks are spread."""
    loop, share = asyncio.get_running_loop(), random.random()
    while True:
        begun = loop.time()
        for target in members:
            target.health.begin(asked.policy, begun)
        result = await probe(asked.address, asked.port, asked.policy, asked.header)
        for hearing in tuple(members.values()):
            hearing(result)
        pause = min(target.health.due for target in members) - loop.time()
        await asyncio.sleep(max(0.0, pause * share))
        share = 1.0


class Checker:
    """The checks of one frontend."""

    def __init__(self, frontend: Frontend, emit: Callable[[dict[str, Any]], None], checks: Checks) -> None:
        self._frontend = frontend
        self._emit = emit
        self._checks = checks
        self._joined: dict[BalancedTarget, SharedCheck] = {}

    def follow(self) -> None:
        """Asks what the frontend's present configuration wants to know."""
        policy = self._frontend.spec.policy
        wanted = {target: self._asked(target, policy) for target in self._frontend.targets} if policy else {}
        for target, asked in list(self._joined.items()):
            if wanted.get(target) != asked:
                self._leave(target)
        for target, asked in wanted.items():
            if target not in self._joined:
                self._joined[target] = asked
                self._checks.join(asked, target, partial(self._heard, target, asked.policy))

    def stop(self) -> None:
        """Ends all checks."""
        for target in list(self._joined):
            self._leave(target)

    def _leave(self, target: BalancedTarget) -> None:
        self._checks.leave(self._joined.pop(target), target)

    def _asked(self, target: BalancedTarget, policy: HealthPolicy) -> SharedCheck:
        # A port of its own is somebody else's, who expects no header.
        header = 0 if policy.port else self._frontend.spec.proxy_protocol
        return SharedCheck(target.address, policy.port or target.port, policy, header)

    def _heard(self, target: BalancedTarget, policy: HealthPolicy, result: CheckResult) -> None:
        target.checked.add(result)
        if target.health.record(policy, result.passed):
            target.checked.flips += not target.health.healthy
            self._emit({"event": "health", **self._told(target), "check": _words(*result[1:3])})

    def _told(self, target: BalancedTarget) -> dict[str, Any]:
        return {
            "frontend": self._frontend.key,
            "target": target.name,
            "address": target.endpoint,
            "healthy": target.health.healthy,
        }


def _words(word: str, detail: str) -> str:
    return f"{word}: {detail}" if detail else word
