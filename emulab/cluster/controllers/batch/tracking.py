"""Which of a Job's Pods have ended, each counted once although it may be deleted meanwhile (KEP-2307).

A Pod has the finalizer TRACKING until its end is noted in `status.uncountedTerminatedPods`, and is counted once it has
lost it: whichever of the two writes gets lost, nothing is counted twice or never.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emulab.cluster.controllers.batch import TRACKING
from emulab.cluster.controllers.pods import has_ended, is_ending, phase
from emulab.cluster.controllers.world import WorkingCopy, owner_uid, uid
from emulab.kinds.registry import JOB, POD
from emulab.model.keys import Key
from emulab.model.objects import Object

UNCOUNTED = "uncountedTerminatedPods"
COUNTED = ("succeeded", "failed")


def is_tracked(pod: Object) -> bool:
    return TRACKING in (pod.metadata.get("finalizers") or ())


def is_over(pod: Object) -> bool:
    """Whether a Pod has ended, or is ending without ever having run: no kubelet will say that it has."""
    return has_ended(pod) or (is_ending(pod) and not pod.status.get("podIPs"))


def has_succeeded(pod: Object) -> bool:
    return phase(pod) == "Succeeded"


def release(world: WorkingCopy, pod: Object) -> None:
    """Takes the finalizer from a Pod, which may be gone with it."""
    if not is_tracked(pod):
        return
    left = [name for name in pod.metadata["finalizers"] if name != TRACKING]
    metadata = {name: value for name, value in pod.metadata.items() if name != "finalizers"}
    world.put(pod.replace(metadata={**metadata, "finalizers": left} if left else metadata))


def release_orphans(world: WorkingCopy, tracked: Iterable[Key]) -> None:
    """Lets go of Pods whose Job is gone."""
    jobs = {uid(job) for job in world.kind(JOB)}
    for key in tracked:
        pod = world.get(key)
        if pod is not None and owner_uid(pod) not in jobs:
            release(world, pod)


def settle(world: WorkingCopy, status: dict[str, Any], pods: Iterable[Object]) -> None:
    """Counts those that are noted and have lost their finalizer, or are gone."""
    waiting = {uid(pod): pod for pod in pods if is_tracked(pod)}
    noted = status.get(UNCOUNTED) or {}
    left: dict[str, list[str]] = {}
    for field in COUNTED:
        known = noted.get(field) or ()
        if still := [one for one in known if one in waiting]:
            left[field] = still
        if more := len(known) - len(still):
            status[field] = status.get(field, 0) + more
        for one in still:
            release(world, waiting[one])
    status[UNCOUNTED] = left


def note(world: WorkingCopy, status: dict[str, Any], pod: Object, field: str) -> None:
    """Notes that a Pod has ended, and lets go of it."""
    noted = status[UNCOUNTED]
    known = noted.get(field) or []
    if uid(pod) not in known:
        status[UNCOUNTED] = {**noted, field: [*known, uid(pod)]}
    release(world, pod)


def total(status: Mapping[str, Any], field: str) -> int:
    """How many have ended like that, counted or only noted."""
    return int(status.get(field) or 0) + len((status.get(UNCOUNTED) or {}).get(field) or ())


def newly_ended(status: Mapping[str, Any], pods: Iterable[Object], at_once: bool) -> list[Object]:
    """The Pods that have ended, and that nothing is noted of; `at_once`: those that are ending, too."""
    noted = {one for known in (status.get(UNCOUNTED) or {}).values() for one in known}
    over = [pod for pod in pods if is_tracked(pod) and (is_over(pod) or (at_once and is_ending(pod)))]
    return [pod for pod in over if uid(pod) not in noted]


def owned(world: WorkingCopy, job: Object) -> list[Object]:
    return world.owned(job, POD)
