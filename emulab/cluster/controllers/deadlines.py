"""When time alone will change something: what a reconcile loop sleeps until."""

from __future__ import annotations

from typing import NamedTuple

from emulab.cluster.controllers import batch, faults, nodelifecycle
from emulab.cluster.controllers.deployments import progress_due
from emulab.cluster.controllers.pods import available_at, is_active, min_ready_seconds
from emulab.cluster.controllers.world import Reads, WorkingCopy
from emulab.kinds.kind import WORKLOAD
from emulab.kinds.registry import DEPLOYMENT, KINDS, POD
from emulab.model.collection import Objects


def next_due(objects: Objects, now: float, world: WorkingCopy | None = None) -> float | None:
    """The next moment at which `reconcile` may answer otherwise although no object changed; None: never.

    These moments are the end of a Ready Pod's `minReadySeconds`, of a rollout's progress deadline, and those of Jobs,
    Faults and nodes that nobody hears of.
    `world`: a working copy of the objects, where there is one in which nothing was changed.
    """
    world = world or WorkingCopy(objects, now)
    known = objects.notes.get(next_due)
    if known is not None and world.is_as(known.read) and (known.moment is None or now < known.moment):
        moment: float | None = known.moment
        return moment
    world.take_read()
    moment = _next(world, now)
    objects.notes[next_due] = _Due(moment, world.take_read())
    return moment


class _Due(NamedTuple):
    """What was found out last, and what was read for it."""

    moment: float | None
    read: Reads


def _next(world: WorkingCopy, now: float) -> float | None:
    moments = [due for deployment in world.kind(DEPLOYMENT) if (due := progress_due(deployment)) is not None]
    moments += [*batch.due(world), *faults.due(world), *nodelifecycle.due(world)]
    for kind in KINDS.of(WORKLOAD):
        for owner in world.kind(kind):
            if seconds := min_ready_seconds(owner):
                pods = filter(is_active, world.owned(owner, POD))
                moments += [due for pod in pods if (due := available_at(pod, seconds)) is not None]
    return min((moment for moment in moments if moment > now), default=None)
