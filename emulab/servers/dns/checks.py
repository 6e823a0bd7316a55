"""Active checks of what records lead to: a task for each that zones ask for (`config.RecordCheck`)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from emulab.servers.base import Emit, vital
from emulab.servers.dns.config import RecordCheck
from emulab.servers.dns.zone import Authority, ServedZone
from emulab.servers.health.checks import probe
from emulab.servers.health.state import Health


class RecordChecks:
    """The checks of one server."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._why: dict[RecordCheck, str] = {}
        self._tasks: dict[RecordCheck, tuple[Health, asyncio.Task[None]]] = {}

    def follow(self, zones: Iterable[Authority]) -> None:
        """Makes the tasks those that these zones ask for; a check that goes on keeps what it has found out."""
        places: dict[RecordCheck, list[dict[RecordCheck, Health]]] = {}
        for zone in zones:
            for sets in zone.routed.values() if isinstance(zone, ServedZone) else ():
                for one in sets.sets:
                    for check in one.checked:
                        places.setdefault(check, []).append(one.checked)
        for check in self._tasks.keys() - places.keys():
            self._tasks.pop(check)[1].cancel()
            self._why.pop(check, None)
        loop = asyncio.get_running_loop()
        for check, where in places.items():
            if check not in self._tasks:
                health = Health(loop.time())
                self._tasks[check] = health, vital(loop.create_task(self._check(check, health)))
            else:
                self._tell_if_not_well(check, self._tasks[check][0])
            for checked in where:
                checked[check] = self._tasks[check][0]

    def stop(self) -> None:
        """Ends all checks."""
        for _, task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _tell_if_not_well(self, check: RecordCheck, health: Health) -> None:
        """What was told of a Zone before it changed is forgotten."""
        if not health.healthy:
            self._tell(check, False, self._why.get(check, ""))

    def _tell(self, check: RecordCheck, healthy: bool, why: str) -> None:
        told = {"zone": check.zone, "record": check.record, "healthy": healthy, "check": why}
        self._emit({"event": "health", **told})

    async def _check(self, check: RecordCheck, health: Health) -> None:
        loop = asyncio.get_running_loop()
        while True:
            health.begin(check.policy, loop.time())
            result = await probe(check.address, check.port, check.policy)
            if health.record(check.policy, result.passed):
                why = f"{result.word}: {result.detail}" if result.detail else result.word
                self._why[check] = why
                self._tell(check, health.healthy, why)
            await asyncio.sleep(max(0.0, health.due - loop.time()))
