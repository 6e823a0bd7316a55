"""What controllers tell of their work, in Kubernetes' words: one place for the sentences that people search for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from emulab.cluster.admission.newcomer import as_admitted
from emulab.cluster.controllers.pods import condition
from emulab.cluster.controllers.world import WorkingCopy, uid
from emulab.kinds.core.qos import with_class
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object

SCHEDULER = "default-scheduler"
_FORBIDDEN = " is forbidden: "


class Words(NamedTuple):
    """How one that makes Pods calls itself, and what it says of each Pod that it makes, deletes, or may not make."""

    component: str
    made: str = "Created pod: {pod}"
    deleted: str = "Deleted pod: {pod}"
    refused: str = "Error creating: {why}"


FAILURE = "ReplicaFailure"


def failure(owner: Object) -> Mapping[str, Any]:
    """The owner's condition that not all its Pods could be made; empty when they could."""
    return condition(owner, FAILURE)


def refusal(deployment: Object) -> str:
    """Why the ReplicaSet of a Deployment isn't made; "" where it is."""
    progressing = condition(deployment, "Progressing")
    return str(progressing["message"]) if progressing.get("reason") == NO_SET else ""


def is_refused(world: WorkingCopy, owner: Object) -> bool:
    """Whether an API server would refuse Pods of it, or did when they were tried last."""
    return uid(owner) in world.refusals or _FORBIDDEN in str(failure(owner).get("message") or "")


def make_pod(world: WorkingCopy, owner: Object, pod: Object, words: Words) -> Object | None:
    """Creates a Pod of a workload, and tells so. None, and that is told, where its API server would refuse it."""
    pod, why = as_admitted(world, pod)
    if why:
        world.refusals[uid(owner)] = why
        message = words.refused.format(pod=pod.name, owner=owner.name, why=why)
        if failure(owner).get("message") != why:  # it is tried in each call
            world.tell(Tell(owner, WARNING, "FailedCreate", message, words.component))
        return None
    message = words.made.format(pod=pod.name, owner=owner.name)
    world.tell(Tell(owner, NORMAL, "SuccessfulCreate", message, words.component))
    return world.put(pod.replace(status=with_class(pod.raw)))


NO_SET = "ReplicaSetCreateError"
"""The reason of a Deployment's condition Progressing, and of an Event, where its ReplicaSet is refused."""


def make_set(world: WorkingCopy, deployment: Object, rs: Object) -> str:
    """Creates a ReplicaSet of a Deployment; what its controller says where its API server would refuse it, else ""."""
    rs, why = as_admitted(world, rs)
    if not why:
        world.put(rs)
        return ""
    message = f'Failed to create new replica set "{rs.name}": {why}'
    if condition(deployment, "Progressing").get("message") != message:  # it is tried in each call
        world.tell(Tell(deployment, WARNING, NO_SET, message, "deployment-controller"))
    return message


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
