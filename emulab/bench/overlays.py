"""`emulab bench overlay`: what each network of pods costs between nodes, against one that adds nothing."""

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
from emulab.errors import UserError
from emulab.kinds.emulab.podnetworks import KUBE_ROUTER, NETWORKS

OVERLAY = "overlay"
NONE = "flannel-routed"
"""That without an overlay or a bridge: the nodes have routes to each other's pods."""
WAY = "pod to pod"
VARIED = (("network", "plugin"), ("network", "mode"), ("network", "cni"))

_EVERY: Mapping[str, dict[str, str]] = {
    f"{plugin}-{mode}": {"plugin": plugin, "mode": mode}
    for plugin, modes in NETWORKS.items()
    for mode in modes
}
"""By plug-in and mode, what a Cluster says: who adds one has it measured."""


_PROXIES = {KUBE_ROUTER: {"proxy": {"mode": "nftables"}}}
"""Proxies that are not what is measured, where a plug-in's own needs more of the kernel than most have."""


def chosen(names: Sequence[str] = ()) -> Mapping[str, dict[str, str]]:
    """Those that are asked for, each a plug-in, with all of its modes, or one mode of it; all without any. The one that
    they are compared with is the first. Raises UserError."""
    found = {NONE: _EVERY[NONE]}
    for name in names or _EVERY:
        meant = {one: said for one, said in _EVERY.items() if name in (one, said["plugin"])}
        if not meant:
            raise UserError(f"there is no network {name!r}; there are {', '.join([*NETWORKS, *_EVERY])}")
        found |= meant
    return found


class OverlayPlan(NamedTuple):
    """What `bench overlay` was asked for."""

    given: Sequence[Mapping[str, Any]]
    schedule: TurnSchedule
    shares: ProcessorShares
    seed: int
    timeout: float
    tell: TellProgress
    networks: Sequence[str] = ()


async def run(plan: OverlayPlan) -> BenchOutcome:
    """Builds a lab of each network, measures, and takes them down. Raises EmulabError."""
    texts = {
        name: worlds.world(plan.given, {"network": said, **_PROXIES.get(said["plugin"], {})})
        for name, said in chosen(plan.networks).items()
    }
    optional = [name for name in texts if name != NONE]
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
            *(f"{name} can't be measured here: {why}" for name, why in problems.items()),
            *measured.notes,
        ],
    )
