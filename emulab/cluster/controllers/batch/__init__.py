"""CronJobs become Jobs, and Jobs become Pods that run to their end.

As in pkg/controller/cronjob, pkg/controller/job and pkg/controller/ttlafterfinished.

* `cronjobs`: one CronJob, from what has become of its Jobs to the one whose time has come
* `jobs`: one Job, from what has ended to what is made, and when it is over
* `tracking`: which Pods have ended, each counted once
* `verdicts`: whether a Job has failed or succeeded, as its limits and policies say
* `making`: which Pods are made and deleted
* `indexed`: what Indexed Jobs have beside others
* `delays`: how long a Pod waits that takes the place of one that failed

A lab without either doesn't load any of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from emulab.cluster.controllers.world import WorkingCopy
from emulab.kinds.registry import CRON_JOB, JOB, POD
from emulab.model.objects import Object

TRACKING = "batch.kubernetes.io/job-tracking"
"""The finalizer of a Pod that its Job has yet to count (KEP-2307)."""


def run(world: WorkingCopy) -> None:
    """Makes Jobs of CronJobs; makes, counts and deletes Jobs' Pods, and says in each one's status how far it is."""
    if world.kind(CRON_JOB):
        from emulab.cluster.controllers.batch import cronjobs

        cronjobs.sync_all(world)
    tracked = world.facts(POD, _tracked)
    if not tracked and not world.kind(JOB):
        return
    from emulab.cluster.controllers.batch import jobs, tracking

    jobs.sync_all(world)
    tracking.release_orphans(world, tracked)


def due(world: WorkingCopy) -> Iterable[float]:
    """When time alone will change something: a schedule's time, a deadline, the end of a delay."""
    if not (world.kind(JOB) or world.kind(CRON_JOB)):
        return ()
    from emulab.cluster.controllers.batch import cronjobs, jobs

    return (*jobs.due(world), *cronjobs.due(world))


def _tracked(pod: Object) -> bool | None:
    return True if TRACKING in (pod.metadata.get("finalizers") or ()) else None
