"""`emulab bench compare`: two Clusters, on the same ways, by turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.bench import worlds
from emulab.bench.estimates import ratio
from emulab.bench.measures import ALL, SINGLE, Target
from emulab.bench.outcome import REFERENCE, BenchOutcome, machine
from emulab.bench.processors import ProcessorShares
from emulab.bench.rounds import TellProgress, TurnSchedule, WaySamples, by_turns, of_way
from emulab.bench.stage import CLIENT, PUBLIC_LB, Stage, stages
from emulab.errors import UserError

COMPARE = "compare"
_CONNECTIONS = 4
Manifests = Sequence[Mapping[str, Any]]


class ComparedWay(NamedTuple):
    """A way that both Clusters have."""

    what: str  # in a sentence
    place: str
    target: Callable[[Stage], Awaitable[Target]]
    kinds: Sequence[str] = ALL


def _to(kind: str, name: str, port: int = 80, **more: Any) -> Callable[[Stage], Awaitable[Target]]:
    async def find(stage: Stage) -> Target:
        return Target(stage.address(kind, name), port, connections=_CONNECTIONS, **more)

    return find


async def _by_name(stage: Stage) -> Target:
    """By the name of a Service, which the pod's own name server is asked for."""
    [cluster] = await stage.lab.get("Cluster") or [{}]
    domain = (cluster.get("spec") or {}).get("clusterDomain") or "cluster.local"
    name = f"{worlds.FAR}.default.svc.{domain}"
    names = (await stage.resolver(_FROM), name)
    return Target(stage.address("Service", worlds.FAR), 80, name, names=names, connections=_CONNECTIONS)


async def _loopback(stage: Stage) -> Target:
    six = ":" in stage.address("Pod", worlds.NEAR)
    return Target("::1" if six else "127.0.0.1", worlds.PORT)


_FROM = f"pod/{worlds.FROM}"
WAYS: Mapping[str, ComparedWay] = {
    "pod": ComparedWay("from pod to pod of another node", _FROM, _to("Pod", worlds.FAR, worlds.PORT)),
    "service-near": ComparedWay(
        "to a Service with an endpoint on the node", _FROM, _to("Service", worlds.NEAR)
    ),
    "service-far": ComparedWay(
        "to a Service with an endpoint on another node", _FROM, _to("Service", worlds.FAR)
    ),
    "service-both": ComparedWay(
        "to a Service with endpoints on both nodes", _FROM, _to("Service", worlds.SPREAD)
    ),
    "name": ComparedWay(
        "as service-far, by its name, which is asked for before each request", _FROM, _by_name, (SINGLE,)
    ),
    "balancer": ComparedWay(
        "from the internet by a balancer that is a proxy", CLIENT, _to("LoadBalancer", worlds.PROXY_LB)
    ),
    "balancer-nat": ComparedWay(
        "from the internet by a balancer that forwards", CLIENT, _to("LoadBalancer", worlds.NAT_LB)
    ),
    "ingress": ComparedWay(
        "from the internet by balancer and ingress", CLIENT, _to("LoadBalancer", PUBLIC_LB, host=worlds.HOST)
    ),
    "ingress-tls": ComparedWay(
        "the same by https", CLIENT, _to("LoadBalancer", PUBLIC_LB, 443, host=worlds.HOST, tls=True)
    ),
}
"""A line a way."""


class ComparePlan(NamedTuple):
    """What `bench compare` was asked for: by name, the manifests of both."""

    given: Mapping[str, Manifests]
    schedule: TurnSchedule
    shares: ProcessorShares
    seed: int
    timeout: float
    tell: TellProgress
    ways: Sequence[str] = tuple(WAYS)


async def run(plan: ComparePlan) -> BenchOutcome:
    """Builds both labs, measures, and takes them down. Raises EmulabError."""
    if unknown := [name for name in plan.ways if name not in WAYS]:
        raise UserError(f"there is no way {unknown[0]!r}; the ways are {', '.join(WAYS)}")
    texts = {name: worlds.world(manifests) for name, manifests in plan.given.items()}
    first = next(iter(texts))
    async with stages(texts, plan.shares, plan.timeout, plan.tell) as (labs, _):
        ways = [
            await stage.way(name, WAYS[name].place, await WAYS[name].target(stage), WAYS[name].kinds)
            for stage in labs.values()
            for name in plan.ways
        ]
        own = labs[first]
        ways.append(
            await own.way(REFERENCE, f"pod/{worlds.NEAR}", await _loopback(own), (SINGLE,), REFERENCE)
        )
        halves = ratio_widths(list(texts), plan.ways)
        schedule = plan.schedule._replace(pace=plan.schedule.pace._replace(finest=plan.schedule.pace.narrow))
        measured = await by_turns(ways, schedule, halves, plan.tell, plan.seed)
    return BenchOutcome(
        benchmark=COMPARE,
        subjects=tuple(texts),
        samples=measured.samples,
        rounds=measured.rounds,
        seconds=measured.seconds,
        verdict=measured.verdict,
        seed=plan.seed,
        machine=await asyncio.to_thread(machine, *plan.shares),
        ways={name: WAYS[name].what for name in plan.ways},
        notes=measured.notes,
    )


def ratio_widths(
    subjects: Sequence[str], ways: Sequence[str]
) -> Callable[[WaySamples], tuple[list[tuple[str, float]], float]]:
    """What must be known well: how each subject's median latency is to the first one's, as half its interval."""

    def halves(samples: WaySamples) -> tuple[list[tuple[str, float]], float]:
        first, *others = subjects
        found = []
        for way in ways:
            base = of_way(samples, first, way).get("p50")
            for other in others:
                own = of_way(samples, other, way).get("p50")
                if own and base:
                    found.append((way, ratio(own, base).half))
        return found, 0.0

    return halves
