"""When time alone will change something: what a reconcile loop sleeps until."""

from __future__ import annotations

from emulab.cluster.controllers.deployments import progress_due
from emulab.cluster.controllers.pods import available_at, is_active, min_ready_seconds
from emulab.cluster.controllers.world import World
from emulab.model.collection import Objects

_WORKLOADS = ("ReplicaSet", "StatefulSet", "DaemonSet")


def next_due(objects: Objects, now: float) -> float | None:
    """The next moment at which `reconcile` may answer otherwise although no object changed; None: never.

    These moments are the end of a Ready Pod's `minReadySeconds` and of a rollout's progress deadline.
    """
    world = World(objects, now)
    moments = [
        due for deployment in world.kind("Deployment") if (due := progress_due(deployment)) is not None
    ]
    for kind in _WORKLOADS:
        for owner in world.kind(kind):
            if seconds := min_ready_seconds(owner):
                pods = filter(is_active, world.owned(owner, "Pod"))
                moments += [due for pod in pods if (due := available_at(pod, seconds)) is not None]
    return min((moment for moment in moments if moment > now), default=None)
