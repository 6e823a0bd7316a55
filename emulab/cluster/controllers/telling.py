"""What controllers tell of their work, in Kubernetes' words: one place for the sentences that people search for."""

from __future__ import annotations

from typing import NamedTuple

from emulab.cluster.controllers.world import WorkingCopy
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object

SCHEDULER = "default-scheduler"


class Words(NamedTuple):
    """How one that makes Pods calls itself, and what it says of each that it has made and deleted."""

    component: str
    made: str = "Created pod: {pod}"
    deleted: str = "Deleted pod: {pod}"


def make_pod(world: WorkingCopy, owner: Object, pod: Object, words: Words) -> Object:
    """Creates a Pod of a workload, and tells so."""
    message = words.made.format(pod=pod.name, owner=owner.name)
    world.tell(Tell(owner, NORMAL, "SuccessfulCreate", message, words.component))
    return world.put(pod)


def delete_pod(world: WorkingCopy, owner: Object, pod: Object, words: Words) -> None:
    """Deletes a Pod of a workload, and tells so, unless it is ending already."""
    if world.delete(pod):
        message = words.deleted.format(pod=pod.name, owner=owner.name)
        world.tell(Tell(owner, NORMAL, "SuccessfulDelete", message, words.component))


def scaled(world: WorkingCopy, deployment: Object, rs: Object, before: int, after: int) -> None:
    """Tells that a Deployment gave a ReplicaSet another size."""
    way = "up" if after > before else "down"
    message = f"Scaled {way} replica set {rs.name} from {before} to {after}"
    world.tell(Tell(deployment, NORMAL, "ScalingReplicaSet", message, "deployment-controller"))


def bound(world: WorkingCopy, pod: Object, node: str) -> None:
    """Tells that a Pod has got a node."""
    message = f"Successfully assigned {pod.namespace}/{pod.name} to {node}"
    world.tell(Tell(pod, NORMAL, "Scheduled", message, SCHEDULER))


def refused(world: WorkingCopy, pod: Object, why: str) -> None:
    """Tells that there is no node for a Pod."""
    world.tell(Tell(pod, WARNING, "FailedScheduling", why, SCHEDULER))


def rejected(world: WorkingCopy, pod: Object, reason: str, why: str) -> None:
    """Tells that a node doesn't take a Pod."""
    world.tell(Tell(pod, WARNING, reason, why, "kubelet", str(pod.spec.get("nodeName"))))
