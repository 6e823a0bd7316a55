"""CronJobs become Jobs at the times of their schedules: pkg/controller/cronjob, `cronjob_controllerv2.go`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from emulab.cluster.admission.newcomer import as_admitted
from emulab.cluster.controllers.batch.jobs import COMPLETE, finished
from emulab.cluster.controllers.names import controller_reference, new_uid
from emulab.cluster.controllers.world import WorkingCopy, rfc3339, uid, unix_time
from emulab.dataclass import dataclass, field
from emulab.kinds.batch.cronjob import FORBID, REPLACE
from emulab.kinds.batch.generated import generated
from emulab.kinds.batch.schedule import Schedule, parse, time_zone
from emulab.kinds.registry import CRON_JOB, EVENT, JOB
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object

COMPONENT = "cronjob-controller"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"  # KEP-4026
_ACTIVE = "Not starting job because prior execution is running and concurrency policy is Forbid"
_MANY = 100
_TOO_MANY = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"


class Missed(NamedTuple):
    """The last time that a schedule had since a moment, and how many it had about."""

    last: float
    number: int


def sync_all(world: WorkingCopy) -> None:
    for cron in world.kind(CRON_JOB):
        _Run(world, cron).sync()


def due(world: WorkingCopy) -> Iterator[float]:
    for cron in world.kind(CRON_JOB):
        if cron.spec["suspend"] or world.is_over(cron):
            continue
        if (at := schedule_of(cron).after(world.now)) is not None:
            yield at


def schedule_of(cron: Object) -> Schedule:
    return parse(cron.spec["schedule"], cron.spec.get("timeZone") or "")


def missed(schedule: Schedule, since: float, now: float) -> Missed | None:
    """The times of a schedule after `since` until now. Of many the distance of the first two says how many they are
    about (`mostRecentScheduleTime`)."""
    first = schedule.after(since)
    if first is None or first > now:
        return None
    second = schedule.after(first)
    if second is None or second > now:
        return Missed(first, 1)
    number = int((now - first) // (second - first)) + 1
    last = first + max(0, number - 2) * (second - first)
    while (following := schedule.after(last)) is not None and following <= now:
        last = following
    return Missed(last, number)


@dataclass
class _Run:
    """One CronJob in one call. `status` is what it will be."""

    world: WorkingCopy
    cron: Object
    jobs: list[Object] = field(init=False)
    status: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = self.world.owned(self.cron, JOB)
        self.status = dict(self.cron.status)

    def sync(self) -> None:
        self._look()
        if not self.world.is_over(self.cron):
            self._clean("successfulJobsHistoryLimit", successful=True)
            self._clean("failedJobsHistoryLimit", successful=False)
            if not self.cron.spec["suspend"]:
                self._start()
        self.world.put(self.cron.replace(status=self.status))

    @property
    def _active(self) -> list[dict[str, Any]]:
        return list(self.status.get("active") or ())

    def _set_active(self, references: list[dict[str, Any]]) -> None:
        self.status.pop("active", None)
        if references:
            self.status["active"] = references

    def _look(self) -> None:
        """What has become of the Jobs that were active."""
        there = {uid(job): job for job in self.jobs}
        left = []
        for reference in self._active:
            job = there.get(reference["uid"])
            if job is None:
                self._tell(NORMAL, "MissingJob", f"Active job went missing: {reference['name']}")
            elif how := finished(job):
                self._tell(NORMAL, "SawCompletedJob", f"Saw completed job: {job.name}, condition: {how}")
            else:
                left.append(reference)
        self._set_active(left)
        done = [str(job.status["completionTime"]) for job in self.jobs if finished(job) == COMPLETE]
        if done:
            self.status["lastSuccessfulTime"] = max([*done, self.status.get("lastSuccessfulTime", "")])

    def _clean(self, limit: str, *, successful: bool) -> None:
        """Deletes the oldest Jobs that are over, beyond the number that is kept."""
        over = [job for job in self.jobs if (how := finished(job)) and (how == COMPLETE) == successful]
        over.sort(key=lambda job: (str(job.status.get("startTime") or ""), job.name))
        for job in over[: max(0, len(over) - int(self.cron.spec[limit]))]:
            self._delete(job)

    def _start(self) -> None:
        """Makes the Job of the last time that has come, unless there was one, it is too late, or one runs still."""
        at = self._time()
        if at is None or self.status.get("lastScheduleTime") == rfc3339(at):
            return
        name = f"{self.cron.name}-{int(at) // 60}"
        if self.world.get(JOB.key(self.cron.namespace, name)) is not None:
            self.status["lastScheduleTime"] = rfc3339(at)
            return
        policy = self.cron.spec["concurrencyPolicy"]
        if self._active and policy == FORBID:
            if not self._has_told("JobAlreadyActive", _ACTIVE, at):
                self._tell(NORMAL, "JobAlreadyActive", _ACTIVE)
            return
        if policy == REPLACE:
            running = {reference["uid"] for reference in self._active}
            for job in self.jobs:
                if uid(job) in running:
                    self._delete(job)
            self._set_active([])
        self._make(name, at)

    def _time(self) -> float | None:
        """The last time that has come since the last one and isn't too late."""
        now, limit = self.world.now, self.cron.spec.get("startingDeadlineSeconds")
        began = self.status.get("lastScheduleTime") or self.cron.metadata.get("creationTimestamp")
        since = unix_time(began)
        if since is None:
            return None
        found = missed(schedule_of(self.cron), since, now)
        if found is None:
            return None
        if limit is not None and found.last + limit < now:
            when = datetime.fromtimestamp(found.last, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
            what = f"Missed scheduled time to start a job: {when}"
            if not self._has_told("MissSchedule", what, found.last):
                self._tell(WARNING, "MissSchedule", what)
            return None
        if limit is None and found.number > _MANY:
            self._tell(WARNING, "TooManyMissedTimes", _TOO_MANY)
        return found.last

    def _has_told(self, reason: str, message: str, since: float) -> bool:
        """Whether there is an Event of it already. It stays so for a while, and needn't be told with each call."""
        about = uid(self.cron)
        return any(
            event.raw.get("reason") == reason
            and event.raw.get("message") == message
            and (event.raw.get("involvedObject") or {}).get("uid") == about
            and str(event.raw.get("lastTimestamp")) >= rfc3339(since)
            for event in self.world.kind(EVENT)
        )

    def _make(self, name: str, at: float) -> None:
        template = self.cron.spec["jobTemplate"]
        given = template.get("metadata") or {}
        zone = time_zone(self.cron.spec.get("timeZone") or "")
        stamp = datetime.fromtimestamp(at, zone).isoformat().replace("+00:00", "Z")
        key = JOB.key(self.cron.namespace, name)
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": key.namespace,
            "annotations": {**(given.get("annotations") or {}), SCHEDULED: stamp},
            "ownerReferences": [controller_reference(self.cron)],
            "uid": new_uid(key, uid(self.cron)),
        }
        if given.get("labels"):
            metadata["labels"] = given["labels"]
        raw = {
            "apiVersion": JOB.api_version,
            "kind": JOB.kind,
            "metadata": metadata,
            "spec": template["spec"],
        }
        job, why = as_admitted(self.world, generated(Object(raw)))
        if why:
            what = f"Error creating job: {why}"
            if not self._has_told("FailedCreate", what, at):
                self._tell(WARNING, "FailedCreate", what)
            return
        self.world.put(job)
        self._tell(NORMAL, "SuccessfulCreate", f"Created job {name}")
        reference = {
            "apiVersion": JOB.api_version,
            "kind": JOB.kind,
            "name": name,
            "namespace": job.namespace,
        }
        self._set_active([*self._active, {**reference, "uid": uid(job)}])
        self.status["lastScheduleTime"] = rfc3339(at)

    def _delete(self, job: Object) -> None:
        if self.world.delete(job):
            self._tell(NORMAL, "SuccessfulDelete", f"Deleted job {job.name}")

    def _tell(self, kind: str, reason: str, message: str) -> None:
        self.world.tell(Tell(self.cron, kind, reason, message, COMPONENT))
