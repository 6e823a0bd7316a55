"""One Job: what has ended is counted, then it is judged, then Pods are made or deleted, then it may be over.

As in `syncJob` of pkg/controller/job a Job that has failed is first told so (FailureTarget), and is over (Failed) once
none of its Pods runs any more; so with SuccessCriteriaMet and Complete (KEP-3939, KEP-3998).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emulab.cluster.controllers.batch import making, tracking, verdicts
from emulab.cluster.controllers.batch.indexed import failures_before, index_of, is_indexed
from emulab.cluster.controllers.batch.verdicts import JobVerdict
from emulab.cluster.controllers.pods import (
    condition,
    is_active,
    is_ending,
    is_ready,
    with_condition,
)
from emulab.cluster.controllers.room import with_failure
from emulab.cluster.controllers.world import WorkingCopy, rfc3339, uid, unix_time
from emulab.dataclass import dataclass, field
from emulab.kinds.batch.indexes import read, written
from emulab.kinds.registry import JOB
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object

COMPLETE, FAILED = "Complete", "Failed"
_CRITERIA_MET, _FAILURE_TARGET, _SUSPENDED = "SuccessCriteriaMet", "FailureTarget", "Suspended"


def finished(job: Object) -> str:
    """Complete or Failed; "" of a Job that isn't over."""
    return next((kind for kind in (COMPLETE, FAILED) if condition(job, kind).get("status") == "True"), "")


def sync_all(world: WorkingCopy) -> None:
    for job in world.kind(JOB):
        if finished(job) or world.is_over(job):
            for pod in tracking.owned(world, job):
                if tracking.is_over(pod) or world.is_over(job):
                    tracking.release(world, pod)
            expires = _expiry(job)
            if expires is not None and expires <= world.now:
                world.delete(job)
        else:
            _Run(world, job).sync()


def due(world: WorkingCopy) -> Iterator[float]:
    for job in world.kind(JOB):
        if finished(job):
            if (expires := _expiry(job)) is not None:
                yield expires
        elif not world.is_over(job):
            if (end := verdicts.deadline(job.spec, job.status)) is not None:
                yield end
            yield from making.waits_until(job, tracking.owned(world, job))


def _expiry(job: Object) -> float | None:
    """When a finished Job goes (KEP-592); None: never by itself."""
    seconds, how = job.spec.get("ttlSecondsAfterFinished"), finished(job)
    at = unix_time(condition(job, how).get("lastTransitionTime")) if how else None
    return None if seconds is None or at is None else at + seconds


@dataclass
class _Run:
    """One Job in one call. `status` is what it will be."""

    world: WorkingCopy
    job: Object
    status: dict[str, Any] = field(init=False)
    fails: JobVerdict | None = None  # by the rule of a policy

    def __post_init__(self) -> None:
        self.status = dict(self.job.status)

    @property
    def pods(self) -> list[Object]:
        return tracking.owned(self.world, self.job)

    def sync(self) -> None:
        if not self.job.spec["suspend"] and not self.status.get("startTime"):
            self.status["startTime"] = rfc3339(self.world.now)
        self._count()
        self._judge()
        self._act()
        self._report()
        refused = uid(self.job) in self.world.refusals
        self.status = with_failure(self.world, self.job, self.status, 0, int(refused))
        self._conclude()
        self.world.put(self.job.replace(status=self.status))

    # what has ended

    def _count(self) -> None:
        tracking.settle(self.world, self.status, self.pods)
        suspended = self.job.spec["suspend"]
        at_once = not suspended and self.job.spec["podReplacementPolicy"] != "Failed"
        for pod in tracking.newly_ended(self.status, self.pods, at_once):
            if suspended and is_ending(pod):  # it was ended with its Job, and is none of its tries
                tracking.release(self.world, pod)
            elif tracking.has_succeeded(pod):
                self._succeeded(pod)
            else:
                self._failed(pod)
        if is_indexed(self.job.spec):
            self.status["succeeded"] = len(self._indexes("completedIndexes"))

    def _succeeded(self, pod: Object) -> None:
        if not is_indexed(self.job.spec):
            tracking.note(self.world, self.status, pod, "succeeded")
            return
        index = index_of(pod)
        if index is not None and index < self.job.spec["completions"]:
            self._add("completedIndexes", index)
        tracking.release(self.world, pod)

    def _failed(self, pod: Object) -> None:
        if self._has(_FAILURE_TARGET) or self._has(_CRITERIA_MET):  # it was ended with its Job
            tracking.note(self.world, self.status, pod, "failed")
            return
        matched = verdicts.failure_policy(self.job.spec, pod)
        if matched.action == "FailJob":
            self.fails = JobVerdict("PodFailurePolicy", matched.message)
        index, limit = index_of(pod), self.job.spec.get("backoffLimitPerIndex")
        if index is not None and limit is not None:
            too_often = matched.action != "Ignore" and failures_before(pod) >= limit
            if (too_often or matched.action == "FailIndex") and index not in self._indexes(
                "completedIndexes"
            ):
                self._add("failedIndexes", index)
        if matched.action == "Ignore":
            tracking.release(self.world, pod)
        else:
            tracking.note(self.world, self.status, pod, "failed")

    def _indexes(self, name: str) -> frozenset[int]:
        return read(self.status.get(name) or "")

    def _add(self, name: str, index: int) -> None:
        self.status[name] = written({*self._indexes(name), index})

    # what it comes to

    def _judge(self) -> None:
        if self._has(_FAILURE_TARGET) or self._has(_CRITERIA_MET):
            return
        if failure := self.fails or self._failure():
            self._set(_FAILURE_TARGET, failure)
        elif success := self._success():
            self._set(_CRITERIA_MET, success)

    def _failure(self) -> JobVerdict | None:
        spec = self.job.spec
        if tracking.total(self.status, "failed") > spec["backoffLimit"]:
            return verdicts.TOO_OFTEN
        if verdicts.restarted_too_often(spec, self.pods):
            return verdicts.TOO_OFTEN
        end = verdicts.deadline(spec, self.status)
        if end is not None and end <= self.world.now:
            return verdicts.TOO_LONG
        failed = self._indexes("failedIndexes")
        most = spec.get("maxFailedIndexes")
        if most is not None and len(failed) > most:
            return verdicts.TOO_MANY_INDEXES
        if failed and len(failed | self._indexes("completedIndexes")) >= spec["completions"]:
            return verdicts.FAILED_INDEXES
        return None

    def _success(self) -> JobVerdict | None:
        spec, succeeded = self.job.spec, tracking.total(self.status, "succeeded")
        if met := verdicts.success_policy(spec, self._indexes("completedIndexes")):
            return met
        if spec.get("completions") is not None:
            return verdicts.REACHED if succeeded >= spec["completions"] else None
        return verdicts.REACHED if succeeded and not any(map(is_active, self.pods)) else None

    # what follows

    def _act(self) -> None:
        if self._has(_FAILURE_TARGET) or self._has(_CRITERIA_MET):
            making.delete_active(self.world, self.job, self.pods)
            return
        self._suspend_or_resume()
        if self.job.spec["suspend"]:
            making.delete_active(self.world, self.job, self.pods)
            return
        closed = self._indexes("completedIndexes") | self._indexes("failedIndexes")
        succeeded = tracking.total(self.status, "succeeded")
        making.manage(self.world, self.job, self.pods, succeeded, closed)

    def _suspend_or_resume(self) -> None:
        asked, is_so = bool(self.job.spec["suspend"]), self._has(_SUSPENDED)
        if asked and not is_so:
            self._set(_SUSPENDED, JobVerdict("JobSuspended", "Job suspended"))
            self._tell(NORMAL, "Suspended", "Job suspended")
        elif is_so and not asked:
            self._set(_SUSPENDED, JobVerdict("JobResumed", "Job resumed"), "False")
            self.status["startTime"] = rfc3339(self.world.now)
            self._tell(NORMAL, "Resumed", "Job resumed")

    def _report(self) -> None:
        """What the API's `omitempty` leaves out isn't there: counts of zero, but for the last two."""
        active = [pod for pod in self.pods if is_active(pod)]
        self.status["active"] = len(active)
        for name in ("active", "succeeded", "failed", "completedIndexes"):
            if not self.status.get(name):
                self.status.pop(name, None)
        if is_indexed(self.job.spec):
            self.status.setdefault("completedIndexes", "")
        self.status["ready"] = sum(map(is_ready, active))
        self.status["terminating"] = sum(is_ending(p) and not tracking.is_over(p) for p in self.pods)

    def _conclude(self) -> None:
        """A Job is over once all its Pods have ended and are counted."""
        if (
            self.status.get("active")
            or self.status["terminating"]
            or any(map(tracking.is_tracked, self.pods))
        ):
            return
        for target, kind in ((_FAILURE_TARGET, FAILED), (_CRITERIA_MET, COMPLETE)):
            if not self._has(target) or self.status[tracking.UNCOUNTED]:
                continue
            why = self._condition(target)
            verdict = JobVerdict(str(why["reason"]), str(why["message"]))
            self._set(kind, verdict)
            if kind == COMPLETE:
                self.status["completionTime"] = rfc3339(self.world.now)
                self._tell(NORMAL, "Completed", "Job completed")
            else:
                self._tell(WARNING, *verdict)

    # conditions and events

    def _condition(self, kind: str) -> dict[str, Any]:
        there = self.status.get("conditions") or ()
        return next((dict(c) for c in there if c.get("type") == kind), {})

    def _has(self, kind: str) -> bool:
        return bool(self._condition(kind).get("status") == "True")

    def _set(self, kind: str, why: JobVerdict, value: str = "True") -> None:
        self.status = with_condition(self.status, self.world.now, kind, value, why.reason, why.message)

    def _tell(self, kind: str, reason: str, message: str) -> None:
        self.world.tell(Tell(self.job, kind, reason, message, making.WORDS.component))
