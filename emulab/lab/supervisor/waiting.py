"""What of a lab can be waited for: that everything is Ready, that objects are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from emulab.cluster.balancerstates import is_active, node_names
from emulab.errors import NotReady
from emulab.kinds.registry import LOAD_BALANCER, POD, SERVICE
from emulab.lab.supervisor.arguments import IDENTITIES, SECONDS, Arguments, optional, takes
from emulab.lab.supervisor.readiness import not_ready, waits_in_vain, why_not_ready
from emulab.lab.supervisor.reconciler import Progress, Reconciler
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import Objects
from emulab.model.keys import Key
from emulab.plan.balancers import ExpectedHealth, balanced, expected_frontends
from emulab.plan.state import World

_FIRST_CHECKS = 15.0
"""Seconds for which first checks are waited for: one of a silent target may take minutes, where a user says so."""


_ExpectedOfAll = Mapping[str, Mapping[str, ExpectedHealth]]


class Waiting:
    """The operations of one lab that end when something is as they want it."""

    def __init__(self, around: Surroundings, reconciler: Reconciler, steady_at: Callable[[], float]) -> None:
        """`steady_at`: when programs have run for long enough to be trusted, on the loop's clock."""
        self._around = around
        self._reconciler = reconciler
        self._steady_at = steady_at
        self._expected: tuple[Objects | None, World | None, _ExpectedOfAll] = (None, None, {})

    @takes(objects=IDENTITIES, timeout=optional(SECONDS))
    async def gone(self, arguments: Arguments, progress: Progress) -> Any:
        """`objects`: [[group, kind, namespace, name, uid], …]: waits until they are gone.

        `timeout`: seconds, after which it is given up. Result: the keys of what isn't gone by then.
        """
        asked = [(Key(*key), uid) for *key, uid in arguments["objects"]]
        store = self._around.store

        def left() -> list[Key]:
            there = ((key, uid, store.get(key)) for key, uid in asked)
            return [key for key, uid, o in there if o is not None and o.metadata["uid"] == uid]

        def condition() -> bool:
            here = left()
            progress(f"waiting until {here[0]} is gone" if here else "gone")
            return not here

        with suppress(TimeoutError):
            async with asyncio.timeout(arguments.get("timeout")):
                await self._reconciler.until(condition)
                await self._reconciler.rest()  # what their end meant for the data plane
        return left()

    @takes(timeout=optional(SECONDS))
    async def ready(self, arguments: Arguments, progress: Progress) -> Any:
        """Waits up to `timeout` seconds until everything is Ready. Raises NotReady saying what isn't, at once where
        waiting would be in vain."""
        store = self._around.store

        def condition() -> bool:
            missing = not_ready(store.objects())
            if missing and waits_in_vain(store.objects()):
                return True
            progress(
                f"waiting for {len(missing)} of {len(store.objects().kind(POD))} pods" if missing else "ready"
            )
            return not missing

        try:
            async with asyncio.timeout(60.0 if arguments.get("timeout") is None else arguments["timeout"]):
                loop = asyncio.get_running_loop()
                while True:
                    await self._reconciler.until(condition)
                    await self._reconciler.rest()  # what the last readiness meant for the data plane
                    reasons = why_not_ready(store.objects())
                    if reasons and waits_in_vain(store.objects()):
                        raise NotReady(_lines("not ready, and waiting won't help", reasons))
                    left = self._steady_at() - loop.time()
                    if left > 0:
                        progress("waiting whether programs stay")
                        await asyncio.sleep(left)
                    elif not not_ready(store.objects()):  # one may have ended since
                        break
                first = begun = loop.time()
                while unhealthy := await self._unhealthy_balancers(begun - first < _FIRST_CHECKS):
                    progress(f"waiting for {unhealthy[0]}")
                    # A look takes no more than a third of the time, which others need to get healthy.
                    await asyncio.sleep(max(0.02, 2 * (loop.time() - begun)))
                    begun = loop.time()
                await self._reconciler.rest()  # what their health meant for rules
        except TimeoutError:
            reasons = why_not_ready(store.objects()) or await self._unhealthy_balancers()
            reasons = reasons or ["programs have run for too short a time"]
            raise NotReady(_lines("not ready in time", reasons)) from None
        return None

    async def _unhealthy_balancers(self, of_each: bool = True) -> list[str]:
        """Balancers that have found none of the targets that are there, or don't know yet `of_each` what it is like,
        one line each. An answer that isn't as the check wants it is waited for no longer: it may stay what it is."""
        reasons = []
        for name, expected in (await self._expected_frontends()).items():
            frontends = (await self._around.servers.status(name)).get("frontends", {})
            for key in sorted(expected):
                targets = frontends.get(key, {}).get("targets", {}).values()
                wanted = expected[key]
                if wanted.asked and not (of_each and wanted.soon and _may_get_well(targets)):
                    continue
                if not any(t["healthy"] for t in targets):
                    reasons.append(f"balancer {name} has no healthy target for {key}")
                elif of_each and wanted.checked and not all(t["check"] for t in targets):
                    reasons.append(f"balancer {name} has not heard of all targets of {key} yet")
        return [*self._without_active(), *reasons]

    def _without_active(self) -> list[str]:
        """Balancers of which no node has the address yet, one line each."""
        objects = self._around.store.objects()
        balancers = [*objects.kind(LOAD_BALANCER), *objects.facts(SERVICE, balanced).values()]
        return [
            f"balancer {names[0]} has no active node"
            for o in balancers
            if (names := node_names(o)) and not any(is_active(o, name) for name in names)
        ]

    async def _expected_frontends(self) -> _ExpectedOfAll:
        """Worked out once for each state of the lab, however often it is looked whether they are healthy by now."""
        objects, world = self._around.store.objects(), self._around.world
        of_objects, of_world, expected = self._expected
        if of_objects is not objects or of_world is not world:
            servers = world.servers if world else {}
            expected = await asyncio.to_thread(expected_frontends, objects, servers)
            self._expected = objects, world, expected
        return expected


def _may_get_well(targets: Collection[Mapping[str, Any]]) -> bool:
    """Whether a target hasn't been asked yet, couldn't be reached, or has answered well, if not often enough."""
    return not targets or any(
        not t["check"] or t["check"]["word"].startswith(("L4", "L7OK")) for t in targets
    )


def _lines(what: str, reasons: Sequence[str]) -> str:
    return "\n  ".join([f"{what}: {reasons[0]}", *reasons[1:]])
