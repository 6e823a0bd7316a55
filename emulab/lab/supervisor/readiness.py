"""When is a lab Ready, and why isn't it? Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from emulab.cluster.controllers.pods import condition, replicas_asked
from emulab.cluster.controllers.telling import failure, refusal
from emulab.cluster.unplaced import refused_by_all, remedies, root
from emulab.kinds.cells import Raw
from emulab.kinds.core.namespace import is_ending
from emulab.kinds.core.podspec import PROGRAM, STANDIN
from emulab.kinds.kind import SCALABLE
from emulab.kinds.registry import CONFIG_MAP, EVENT, JOB, KINDS, NAMESPACE, NODE, POD, SECRET
from emulab.lab.kubelet.served import is_run_to_its_end
from emulab.lab.supervisor.targets import is_ready
from emulab.model.collection import Objects
from emulab.model.keys import Key
from emulab.model.objects import Object

_ENDING = ("Never", "OnFailure")
"""Restart policies of Pods that may come to an end."""
_LACKS = re.compile(
    r"no such file|nonexistent|can't open|cannot open|not found|No module named", re.IGNORECASE
)
"""How programs say that a file isn't there."""
_MOUNTING = ("ContainerCreating", "PodInitializing")
"""What containers wait for as long as a volume isn't there."""
_NOT_THERE = (126, 127)
"""What shells end with that can't run, or don't find, what they were to run."""


def not_ready(objects: Objects) -> list[str]:
    """What is missing until everything is Ready, one line each; empty when nothing is."""
    return _missing(objects, lambda pod, container: "")


def why_not_ready(objects: Objects) -> list[str]:
    """What is missing, with what only other objects say of it: the probes' answers, volumes that aren't there, and what
    the scheduler lacks."""
    told = _told(objects)

    def more(pod: Object, container: str) -> str:
        if container:
            which = pod.namespace, pod.name, str(pod.metadata.get("uid"))
            return told.get((*which, container)) or (
                told.get((*which, ""), "") if _has_not_begun(pod) else ""
            )
        return _absent_node(objects, pod) or "; ".join(dict.fromkeys(remedies(pod, objects)))

    return _missing(objects, more)


def waits_in_vain(objects: Objects) -> bool:
    """Whether all that isn't Ready never will be: Pods and Jobs that have failed for good, Pods that no node takes
    while nobody is about to make room for them, and those that ask for a ConfigMap or Secret that isn't there, as
    nobody in a lab makes any."""
    refused, lost = objects.facts(POD, refused_by_all), objects.facts(POD, _lost)
    untold = _untold(objects)
    if not refused and not lost and not untold and not objects.facts(JOB, _failed):
        return False
    pods, hopeless = objects.kind(POD), {*refused, *lost, *untold}
    if any(p.key not in hopeless and not _is_settled(p) for p in pods):
        return False
    owners = [o for kind in KINDS.of(SCALABLE) for o in objects.kind(kind)]
    if refused and (any(map(_may_end, pods)) or any(o.spec.get("minReadySeconds") for o in owners)):
        return False  # Pods of before go once those of now are available
    asking = {root(objects, pod).key for pod in (*refused.values(), *untold.values())}
    return all(o.key in asking for o in owners if not o.metadata.get("ownerReferences") and _lacks(o))


def _absent_node(objects: Objects, pod: Object) -> str:
    """Which node a Pod names that isn't there: no scheduler is asked for it, and no kubelet tells of it."""
    node = pod.spec.get("nodeName")
    return f"there is no node {node}" if node and objects.get(NODE.key("", node)) is None else ""


_ABSENT = re.compile(r'(configmap|secret) "([^"]*)" not found$')


def _untold(objects: Objects) -> Mapping[Key, Object]:
    """The Pods that wait for a ConfigMap or Secret that isn't there: to be told of it, or to have it in a volume."""
    begun = objects.facts(POD, _misconfigured).values()
    found = {pod.key: pod for pod in begun if any(_is_absent(objects, pod, s) for s in _told_to_wait(pod))}
    begins = objects.facts(POD, _beginning).values()
    told = _told(objects) if begins else {}
    for pod in begins:
        said = told.get((pod.namespace, pod.name, str(pod.metadata.get("uid")), ""), "")
        if _is_absent(objects, pod, said):
            found[pod.key] = pod
    return found


def _is_absent(objects: Objects, pod: Object, said: str) -> bool:
    """Whether what a Pod is said to wait for isn't there, and hasn't come since."""
    absent = _ABSENT.search(said)
    if absent is None or pod.metadata.get("deletionTimestamp"):
        return False
    kind = SECRET if absent[1] == SECRET.singular else CONFIG_MAP
    return objects.get(kind.key(pod.namespace, absent[2])) is None


def _told_to_wait(pod: Object) -> list[str]:
    waiting = (s["state"].get("waiting") or {} for s in _containers(pod))
    return [str(w.get("message") or "") for w in waiting if w.get("reason") == "CreateContainerConfigError"]


def _misconfigured(pod: Object) -> Object | None:
    return pod if _told_to_wait(pod) else None


def _beginning(pod: Object) -> Object | None:
    return pod if any(True for _ in _containers(pod)) and _has_not_begun(pod) else None


def _lost(pod: Object) -> Object | None:
    """The Pod, if it has failed for good and nobody makes another."""
    if pod.metadata.get("ownerReferences") or pod.metadata.get("deletionTimestamp"):
        return None
    ended = [(s["state"].get("terminated") or {}).get("exitCode") for s in _containers(pod)]
    failed = pod.spec.get("restartPolicy") == "Never" and any(ended)
    return pod if failed or pod.status.get("phase") == "Failed" else None


def _may_end(pod: Object) -> bool:
    """Whether a Pod that runs may leave its room to another."""
    return (
        pod.status.get("phase") == "Running" and pod.spec.get("restartPolicy") in _ENDING and not _lost(pod)
    )


def _lacks(o: Object) -> bool:
    """Whether a workload that scales hasn't as many Pods that are ready as it wants, or has more Pods."""
    wanted = replicas_asked(o)
    return int(o.status.get("readyReplicas") or 0) < wanted or int(o.status.get("replicas") or 0) > wanted


def _missing(objects: Objects, more: Callable[[Object, str], str]) -> list[str]:
    """`more` says of a Pod, and of a container if one is named, what its status doesn't."""
    reasons = [_pod_reason(p, more) for p in objects.kind(POD) if not _is_settled(p)]
    ending = {n.name for n in objects.kind(NAMESPACE) if is_ending(n)}
    for kind in KINDS.of(SCALABLE):
        for o in objects.kind(kind):
            if o.metadata.get("ownerReferences") or o.namespace in ending:
                continue
            if _lacks(o):
                why = f": {message}" if (message := failure(o).get("message") or refusal(o)) else ""
                reasons.append(f"{o.kind} {o.namespace}/{o.name} has {_replicas_there(o)}{why}")
    return [
        *reasons,
        *(_job_reason(o) for o in objects.facts(JOB, _failed).values() if o.namespace not in ending),
    ]


def _replicas_there(o: Object) -> str:
    """How many Pods of a workload are ready; where those are enough, how many more there are that shall go."""
    wanted, ready = replicas_asked(o), int(o.status.get("readyReplicas") or 0)
    if ready < wanted:
        return f"{ready} of {wanted} replicas ready"
    there, updated = int(o.status.get("replicas") or 0), o.status.get("updatedReplicas")
    more = "" if updated is None else f", {updated} of them updated"
    return f"{there} replicas, and shall have {wanted}{more}"


def _failed(job: Object) -> Object | None:
    return job if condition(job, "Failed").get("status") == "True" else None


def _job_reason(job: Object) -> str:
    """A Job that still tries is as it should be; one that has failed is told, once for all its Pods."""
    failed = condition(job, "Failed")
    return f"Job {job.namespace}/{job.name} has failed: {failed.get('reason')}: {failed.get('message')}"


_TELLING = ("Unhealthy", "FailedMount")
"""Reasons of Events that say what a status doesn't."""


def _told(objects: Objects) -> Mapping[tuple[str, str, str, str], str]:
    """What the last probe of each container that fails was answered, by namespace, name and uid of its Pod; with "" in
    place of a container, which volume isn't there."""
    found: dict[tuple[str, str, str, str], str] = {}
    for event in sorted(objects.kind(EVENT), key=lambda o: str(o.raw.get("lastTimestamp") or "")):
        about = event.raw.get("involvedObject") or {}
        if event.raw.get("reason") in _TELLING and about.get("kind") == "Pod":
            container = str(about.get("fieldPath") or "").partition("{")[2].rstrip("}")
            key = (str(about.get("namespace")), str(about.get("name")), str(about.get("uid")), container)
            found[key] = str(event.raw.get("message") or "").strip()
    return found


def _has_not_begun(pod: Object) -> bool:
    return all((s["state"].get("waiting") or {}).get("reason") in _MOUNTING for s in _containers(pod))


def _is_settled(pod: Object) -> bool:
    ended = pod.status.get("phase")
    if ended in ("Succeeded", "Failed"):
        return ended == "Succeeded" or is_run_to_its_end(pod)
    return (is_ready(pod) or _has_completed_beside(pod)) and not pod.metadata.get("deletionTimestamp")


def _has_completed_beside(pod: Object) -> bool:
    """Whether some containers of a Pod have ended well for good, and all others are ready."""
    containers = pod.status.get("containerStatuses") or ()
    completed = [(c["state"].get("terminated") or {}).get("exitCode") == 0 for c in containers]
    sidecars = (c["ready"] for c in pod.status.get("initContainerStatuses") or ())
    return any(completed) and all(
        (*sidecars, *(c["ready"] or done for c, done in zip(containers, completed, strict=True)))
    )


def _pod_reason(pod: Object, more: Callable[[Object, str], str]) -> str:
    """Why a pod isn't ready, in the words its status has for it."""
    where = f"Pod {pod.namespace}/{pod.name}"
    if pod.metadata.get("deletionTimestamp"):
        return f"{where} is terminating"
    container = next((s for s in _containers(pod) if not s["ready"] and not _completed(s)), None)
    says_more = pod.status.get("phase") == "Failed" and pod.status.get("reason")  # than its containers
    if container is not None and not says_more:
        told = [_container_reason(container), more(pod, container["name"]), _hint(container)]
        return f"{where} container {container['name']} {'; '.join(filter(None, told))}"
    message = pod.status.get("message") or next(
        (c["message"] for c in pod.status.get("conditions") or () if c.get("message")), ""
    )
    told = [f"{where} is {pod.status.get('phase', 'Pending')}" + (f": {message}" if message else "")]
    return "; ".join(filter(None, [*told, more(pod, "")]))


def _containers(pod: Object) -> Iterator[Raw]:
    """Init containers first: what others wait for."""
    for field in ("initContainerStatuses", "containerStatuses"):
        yield from pod.status.get(field) or ()


def _lacks_file(end: Raw) -> bool:
    return bool(end.get("exitCode") and _LACKS.search(str(end.get("message") or "")))


def _completed(status: Raw) -> bool:
    return (status["state"].get("terminated") or {}).get("exitCode") == 0


def _container_reason(status: Raw) -> str:
    state = status["state"]
    last = (status.get("lastState") or {}).get("terminated")
    if waiting := state.get("waiting"):
        message = f": {waiting['message']}" if waiting.get("message") else ""
        before = f"; it {_end(last)}" if last and waiting.get("message") != last.get("message") else ""
        return f"waits: {waiting['reason']}{message}{before}"
    if "running" in state:
        return "runs but is not ready" + (f"; before, it {_end(last)}" if last else "")
    return f"has {_end(state['terminated'])}"


def _end(terminated: Raw) -> str:
    """How a container ended: its exit code, and what it said last."""
    lines = str(terminated.get("message") or "").strip().splitlines()
    said = f": {lines[-1].strip()}" if lines else ""
    return f"ended with status {terminated.get('exitCode')}{said}"


def _hint(status: Raw) -> str:
    """What mends it where the end of a program says that it lacks something of its image."""
    ends = (status["state"].get("terminated"), (status.get("lastState") or {}).get("terminated"))
    if not any(end and (end.get("exitCode") in _NOT_THERE or _lacks_file(end)) for end in ends):
        return ""
    return f"the annotation {PROGRAM}: {STANDIN} on the Pod has a stand-in take its place"
