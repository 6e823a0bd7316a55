"""When is a lab Ready? Pure."""

from __future__ import annotations

from emulab.cluster.controllers.pods import replicas_asked
from emulab.cluster.controllers.room import failure
from emulab.kinds.core.namespace import is_ending
from emulab.kinds.kind import SCALABLE
from emulab.kinds.registry import KINDS, NAMESPACE, POD
from emulab.lab.supervisor.targets import is_ready
from emulab.model.collection import Objects
from emulab.model.objects import Object


def not_ready(objects: Objects) -> list[str]:
    """What is missing until everything is Ready, one line each; empty when nothing is."""
    reasons = [_pod_reason(p) for p in objects.kind(POD) if not _is_settled(p)]
    ending = {n.name for n in objects.kind(NAMESPACE) if is_ending(n)}
    for kind in KINDS.of(SCALABLE):
        for o in objects.kind(kind):
            if o.metadata.get("ownerReferences") or o.namespace in ending:
                continue
            wanted = replicas_asked(o)
            ready = int(o.status.get("readyReplicas") or 0)
            total = int(o.status.get("replicas") or 0)
            if ready < wanted or total > wanted:
                why = f": {message}" if (message := failure(o).get("message")) else ""
                reasons.append(f"{o.kind} {o.namespace}/{o.name} has {ready} of {wanted} replicas ready{why}")
    return reasons


def _is_settled(pod: Object) -> bool:
    return pod.status.get("phase") == "Succeeded" or (
        is_ready(pod) and not pod.metadata.get("deletionTimestamp")
    )


def _pod_reason(pod: Object) -> str:
    """Why a pod isn't ready, in the words its status has for it."""
    where = f"Pod {pod.namespace}/{pod.name}"
    if pod.metadata.get("deletionTimestamp"):
        return f"{where} is terminating"
    kinds = ("initContainerStatuses", "containerStatuses")  # what others wait for comes first
    for status in (s for kind in kinds for s in pod.status.get(kind) or ()):
        waiting = status["state"].get("waiting")
        if waiting and not status["ready"]:
            message = f": {waiting['message']}" if waiting.get("message") else ""
            return f"{where} container {status['name']} waits: {waiting['reason']}{message}"
        if not status["ready"]:
            state = "runs but is not ready" if "running" in status["state"] else "has ended"
            return f"{where} container {status['name']} {state}"
    message = pod.status.get("message") or next(
        (c["message"] for c in pod.status.get("conditions") or () if c.get("message")), ""
    )
    return f"{where} is {pod.status.get('phase', 'Pending')}" + (f": {message}" if message else "")
