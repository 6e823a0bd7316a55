"""Pods whose programs somebody else runs, in a network namespace that he has handed over to the lab (`emulab cni`).

There is nothing to start and nothing to ask: such a Pod is Ready as soon as it has its network.
"""

from __future__ import annotations

from emulab.cluster.store import timestamp
from emulab.kinds.core.podspec import PodSpec
from emulab.lab.kubelet.podstatus import ContainerState, pod_status, stamped
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.objects import Object
from emulab.plan.pods import place_name
from emulab.plan.state import World


def stand(around: Surroundings, pod: Object, world: World) -> None:
    """Says how the Pod is, and lets it go when it is told to."""
    if pod.metadata.get("deletionTimestamp"):
        around.store.remove(pod.key)
        around.changed()
        return
    if place_name(pod) not in world.places or pod.status.get("phase") == "Running":
        return
    now = timestamp()
    states = [
        ContainerState(c.name, c.image, running=True, started=True, ready=True, started_at=now)
        for c in PodSpec.of_pod(pod).containers
    ]
    before = pod.status.get("conditions") or ()
    status = pod_status(states, (), True, (), before)
    status["conditions"] = stamped(status["conditions"], before, now)
    around.store.set_status(pod.key, startTime=now, **status)
    around.changed()
