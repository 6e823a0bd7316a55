"""`emulab bench overlay`: what each way of pods' networks costs between nodes, against none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emulab.bench import worlds
from emulab.bench.measures import ALL, SINGLE, Target
from emulab.bench.outcome import REFERENCE, BenchOutcome, machine
from emulab.bench.processors import ProcessorShares
from emulab.bench.rounds import TellProgress, TurnSchedule, by_turns
from emulab.bench.stage import stages
from emulab.bench.versus import ratio_widths
from emulab.kinds.emulab.cluster import MODES

OVERLAY = "overlay"
NONE = "routed"
"""The mode without an overlay: the nodes have routes to each other's pods."""
WAY = "pod to pod"
VARIED = (("network", "mode"),)


def modes() -> list[str]:
    """All that a Cluster may have, that without an overlay first: who adds one has it measured."""
    return [NONE, *(mode for mode in MODES["network.mode"] if mode != NONE)]


class OverlayPlan(NamedTuple):
    """What `bench overlay` was asked for."""

    given: Sequence[Mapping[str, Any]]
    schedule: TurnSchedule
    shares: ProcessorShares
    seed: int
    timeout: float
    tell: TellProgress


async def run(plan: OverlayPlan) -> BenchOutcome:
    """Builds a lab of each mode, measures, and takes them down. Raises EmulabError."""
    texts = {mode: worlds.world(plan.given, {"network": {"mode": mode}}) for mode in modes()}
    optional = [mode for mode in texts if mode != NONE]
    async with stages(texts, plan.shares, plan.timeout, plan.tell, optional) as (labs, problems):
        ways = []
        for stage in labs.values():
            target = Target(stage.address("Pod", worlds.FAR), worlds.PORT)
            ways.append(await stage.way(WAY, f"pod/{worlds.FROM}", target, ALL))
        base = labs[NONE]
        six = ":" in base.address("Pod", worlds.NEAR)
        own = Target("::1" if six else "127.0.0.1", worlds.PORT)
        ways.append(await base.way(REFERENCE, f"pod/{worlds.NEAR}", own, (SINGLE,), REFERENCE))
        schedule = plan.schedule._replace(pace=plan.schedule.pace._replace(finest=plan.schedule.pace.narrow))
        measured = await by_turns(ways, schedule, ratio_widths(list(labs), (WAY,)), plan.tell, plan.seed)
    return BenchOutcome(
        benchmark=OVERLAY,
        subjects=tuple(labs),
        samples=measured.samples,
        rounds=measured.rounds,
        seconds=measured.seconds,
        verdict=measured.verdict,
        seed=plan.seed,
        machine=await asyncio.to_thread(machine, *plan.shares),
        ways={WAY: "from pod to pod of another node, without a Service"},
        notes=[
            *(f"{mode} can't be measured here: {why}" for mode, why in problems.items()),
            *measured.notes,
        ],
    )
