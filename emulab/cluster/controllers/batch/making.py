"""Which Pods of a Job are made and deleted (`manageJob` of pkg/controller/job)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.cluster.controllers.batch import TRACKING, delays
from emulab.cluster.controllers.batch.indexed import failures_of, index_of, is_indexed, next_try, with_index
from emulab.cluster.controllers.names import controller_reference, generated_name
from emulab.cluster.controllers.pods import has_ended, is_active, is_ending, is_ready, new_pod, phase
from emulab.cluster.controllers.room import Room
from emulab.cluster.controllers.telling import Words, delete_pod, make_pod
from emulab.cluster.controllers.world import WorkingCopy
from emulab.kinds.registry import POD
from emulab.model.objects import Object

WORDS = Words("job-controller")


def manage(
    world: WorkingCopy,
    job: Object,
    pods: Sequence[Object],
    succeeded: int,
    closed: frozenset[int] = frozenset(),
) -> None:
    """Makes the Pods that are lacking and deletes those that are too many. `closed`: indexes that need none."""
    spec, active = job.spec, [pod for pod in pods if is_active(pod)]
    wanted = _wanted(spec, len(active), succeeded, len(closed))
    surplus = _superfluous(spec, active, closed)
    rest = [pod for pod in active if pod not in surplus]
    if len(rest) > wanted:
        surplus += sorted(rest, key=_rank)[: len(rest) - wanted]
    for pod in surplus:
        delete_pod(world, job, pod, WORDS)
    lacking = wanted - len(active) - _replaced_later(spec, pods)
    if lacking > 0:
        _make(world, job, pods, closed, lacking)


def delete_active(world: WorkingCopy, job: Object, pods: Sequence[Object]) -> None:
    for pod in pods:
        if is_active(pod):
            delete_pod(world, job, pod, WORDS)


def waits_until(job: Object, pods: Sequence[Object]) -> list[float]:
    """When Pods may be made that wait for that."""
    if "backoffLimitPerIndex" not in job.spec:
        return [delays.next_try(pods)]
    indexes = {index_of(pod) for pod in pods} - {None}
    return [next_try(index, pods) for index in indexes if index is not None]


def _wanted(spec: Mapping[str, Any], active: int, succeeded: int, closed: int) -> int:
    """How many Pods are to be active. Without `completions` the first that succeeds is the last that is made."""
    parallelism, completions = int(spec["parallelism"]), spec.get("completions")
    if completions is None:
        return min(active, parallelism) if succeeded else parallelism
    done = closed if is_indexed(spec) else succeeded
    return max(0, min(parallelism, int(completions) - done))


def _superfluous(spec: Mapping[str, Any], active: list[Object], closed: frozenset[int]) -> list[Object]:
    """Pods of an index that another one has, that is done, or that there is not."""
    if not is_indexed(spec):
        return []
    seen, found = set(closed), []
    for pod in sorted(active, key=_rank, reverse=True):
        index = index_of(pod)
        if index is None or index in seen or index >= spec["completions"]:
            found.append(pod)
        else:
            seen.add(index)
    return found


def _replaced_later(spec: Mapping[str, Any], pods: Sequence[Object]) -> int:
    """Pods that are ending, where these are replaced only once they have ended (KEP-3939)."""
    if spec.get("podReplacementPolicy") != "Failed":
        return 0
    return sum(is_ending(pod) and not has_ended(pod) for pod in pods)


def _rank(pod: Object) -> tuple[object, ...]:
    """What has come less far goes first, and of what has come as far the younger one."""
    created = str(pod.metadata.get("creationTimestamp") or "~")
    return (
        bool(pod.spec.get("nodeName")),
        phase(pod) == "Running",
        is_ready(pod),
        [-ord(letter) for letter in created],
        pod.name,
    )


def _make(
    world: WorkingCopy, job: Object, pods: Sequence[Object], closed: frozenset[int], lacking: int
) -> None:
    per_index = "backoffLimitPerIndex" in job.spec
    if not per_index and delays.next_try(pods) > world.now:
        return
    granted = Room.of(world).grant(job, lacking)
    if not is_indexed(job.spec):
        number = -1
        for _ in range(granted):
            name, number = generated_name(world, POD.key(job.namespace, job.name), start=number + 1)
            if not _create(world, job, name, job.spec["template"]):
                return
        return
    for index in _free(job.spec, pods, closed):
        if granted <= 0:
            return
        if per_index and next_try(index, pods) > world.now:
            continue
        failures = failures_of(index, pods) if per_index else None
        template = with_index(job.spec["template"], job.name, index, failures)
        name, _ = generated_name(world, POD.key(job.namespace, f"{job.name}-{index}"))
        if not _create(world, job, name, template):
            return
        granted -= 1


def _free(spec: Mapping[str, Any], pods: Sequence[Object], closed: frozenset[int]) -> list[int]:
    """Indexes that need a Pod, the first ones first."""
    late = spec.get("podReplacementPolicy") == "Failed" or "backoffLimitPerIndex" in spec
    held = {
        index_of(pod) for pod in pods if is_active(pod) or (late and is_ending(pod) and not has_ended(pod))
    }
    return [index for index in range(spec["completions"]) if index not in held and index not in closed]


def _create(world: WorkingCopy, job: Object, name: str, template: Mapping[str, Any]) -> bool:
    """Whether the Pod could be made: a quota may refuse it."""
    pod = new_pod(job.namespace, name, template, controller_reference(job))
    finalizers = [*(pod.metadata.get("finalizers") or ()), TRACKING]
    pod = pod.replace(metadata={**pod.metadata, "finalizers": finalizers})
    return make_pod(world, job, pod, WORDS) is not None
