"""Builds a lab for each mode, say, asks them the same, and takes them down, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from threading import Event
from typing import Any, TypeVar

from emulab.dataclass import dataclass, field
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import CLUSTER, NODE
from emulab.lab.client.client import LabClient
from emulab.lab.folders import rundir
from emulab.model.collection import Objects
from emulab.model.families import IPV4, IPV6, Family
from emulab.model.objects import Object
from emulab.python import Lab
from emulab.twins import comparing, counting
from emulab.twins.asks import Ask
from emulab.twins.axes import Axis
from emulab.twins.comparing import Compared
from emulab.twins.owners import Frontends, Owners
from emulab.twins.sampling import Sample, Sampler

T = TypeVar("T")

SECOND_LOOK = 5  # times as many connections, where a spread looks odd

COUNTED = 8  # nodes whose rules are counted

ROUTER = "router"
_LIMITS = {IPV4: "net/ipv4/icmp_ratelimit", IPV6: "net/ipv6/icmp/ratelimit"}
"""Settings, below /proc/sys, that are switched off: the kernel sends one place an ICMP error a second (after six), so
who is refused and who waits would be chance."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be compared. `given` are the manifests' objects, `objects` what becomes of them."""

    axis: Axis
    modes: Sequence[str]  # values of the axis
    given: Sequence[Object]
    objects: Objects
    asks: Sequence[Ask]
    name: str  # of the labs, before `-MODE`
    connections: int = 40
    patience: float = 2.0  # seconds that a request waits
    timeout: float = 60.0  # seconds that a lab has to get Ready
    tell: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found in all modes."""

    compared: Sequence[Compared]
    axis: Axis
    rules: Mapping[
        str, Mapping[str, counting.RuleCounts | None]
    ]  # mode → node → numbers; none where none are counted


def manifest(given: Sequence[Object], axis: Axis, mode: str) -> str:
    """The manifests of a lab with this value of the axis, as one text."""
    items: list[Mapping[str, Any]] = [o.raw for o in given if o.type != CLUSTER]
    cluster: dict[str, Any] = next(
        (dict(o.raw) for o in given if o.type == CLUSTER),
        {"apiVersion": CLUSTER.api_version, "kind": CLUSTER.kind, "metadata": {"name": "emulab"}},
    )
    cluster["spec"] = axis.set(cluster.get("spec") or {}, mode)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [cluster, *items]})


async def run(plan: Plan) -> Comparison:
    """Builds, asks, compares. Raises EmulabError for what goes wrong first; no lab is left, whatever happens."""
    labs = {
        mode: Lab.from_text(
            manifest(plan.given, plan.axis, mode), name=f"{plan.name}-{mode}", timeout=plan.timeout
        )
        for mode in plan.modes
    }
    async with AsyncExitStack() as ending:
        plan.tell(f"building {len(labs)} labs")
        await _all_results(*map(ending.enter_async_context, labs.values()))
        return await _Twins(plan, labs).compare(ending)


async def _all_results(*work: Coroutine[Any, Any, T]) -> list[T]:
    """The results of all; the first failure ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


class _Twins:
    """Labs that are up."""

    def __init__(self, plan: Plan, labs: Mapping[str, Lab]) -> None:
        self._plan = plan
        self._labs = labs
        self._stop = Event()
        self._samplers: list[Sampler] = []
        self._done, self._total, self._doing = 0, 0, ""

    async def compare(self, ending: AsyncExitStack) -> Comparison:
        """Asks the labs each request and compares what came of it."""
        ending.callback(self._stop.set)  # before the labs go: threads are still asking when we are cancelled
        nodes = [o.name for o in self._plan.objects.kind(NODE)]
        cluster = cluster_of(self._plan.objects)
        await _all_results(
            *(_unlimit(lab, (*nodes, ROUTER), cluster.families) for lab in self._labs.values())
        )
        self._samplers = await _all_results(*map(self._sampler, self._labs.values()))
        asks = self._plan.asks
        observed = await self._sample(asks, self._plan.connections, "asking")
        frontends = Frontends(self._plan.objects, cluster)
        situations = {a: frontends.situation(a, _address(o[a] for o in observed)) for a in asks}
        odd = [a for a in asks if comparing.suspicious(situations[a], (o[a] for o in observed))]
        if odd:
            again = await self._sample(odd, self._plan.connections * SECOND_LOOK, "asking again")
            for first, second in zip(observed, again, strict=True):
                for a in odd:
                    first[a].endpoints = second[a].endpoints
        compared = [
            comparing.compare(
                a, situations[a], {m: o[a] for m, o in zip(self._plan.modes, observed, strict=True)}
            )
            for a in asks
        ]
        axis = self._plan.axis
        if not axis.rules:
            return Comparison(compared, axis, {mode: {} for mode in self._plan.modes})
        self._plan.tell("counting rules")
        return Comparison(compared, axis, dict(zip(self._plan.modes, await self._counts(nodes), strict=True)))

    async def _sampler(self, lab: Lab) -> Sampler:
        found = [Object(raw) for kind in ("Pod", "Node") for raw in await lab.get(kind)]
        summary = await asyncio.to_thread(_summary, lab.name)
        owners = Owners(Objects(found), summary["places"])
        return Sampler(lab.name, owners, self._plan.patience, self._stop, self._tell_progress)

    async def _sample(self, asks: Sequence[Ask], connections: int, doing: str) -> list[dict[Ask, Sample]]:
        """What came of the requests in each lab."""
        self._done, self._total, self._doing = 0, 2 * len(asks) * len(self._labs), doing
        observed = await _all_results(*(asyncio.to_thread(s.first, asks) for s in self._samplers))
        contested = {ask for o in observed for ask in asks if o[ask].answered}
        await _all_results(
            *(
                asyncio.to_thread(s.more, o, connections, contested)
                for s, o in zip(self._samplers, observed, strict=True)
            )
        )
        return observed

    def _tell_progress(self) -> None:
        self._done += 1
        self._plan.tell(f"{self._doing}, {100 * self._done // max(self._total, 1)} %")

    async def _counts(self, nodes: Sequence[str]) -> list[dict[str, counting.RuleCounts | None]]:
        async def of(lab: Lab) -> dict[str, counting.RuleCounts | None]:
            return {node: await counting.count(lab, node) for node in nodes[:COUNTED]}

        return await _all_results(*map(of, self._labs.values()))


async def _unlimit(lab: Lab, places: Sequence[str], families: Sequence[Family]) -> None:
    script = "; ".join(f"echo 0 > /proc/sys/{_LIMITS[family]}" for family in families)
    for place in places:
        await lab.exec(place, "sh", "-c", script)  # where that is forbidden, refusals may be late


def _address(observations: Iterable[Sample]) -> str:
    """What the name of a request resolved to; names resolve alike in all modes."""
    return next((o.address for o in observations if o.address), "")


def _summary(name: str) -> Any:
    with LabClient(rundir.folder(name)) as client:
        return client.request("summary")
