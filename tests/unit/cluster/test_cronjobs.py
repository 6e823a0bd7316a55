"""CronJobs: Jobs at the times of a schedule."""

from __future__ import annotations

from typing import Any

from controllers_store import Store, conditions, make, names, node, template
from test_jobs import end_all

from emulab.cluster.admission.merge import merge
from emulab.cluster.controllers import next_due
from emulab.model.objects import Object

CREATED = "2023-11-14T22:13:20Z"  # when the store's clock begins
NEXT = 1_700_000_040.0  # 22:14:00, minute 28333334


def cron(name: str = "c", **spec: Any) -> Object:
    pods = {"template": template("x", restartPolicy="Never")}
    whole = {
        "schedule": "* * * * *",
        "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": pods},
        **spec,
    }
    return merge(None, make("CronJob", name, metadata={"creationTimestamp": CREATED}, spec=whole))


def lab(**spec: Any) -> Store:
    store = Store(node("node1"), cron(**spec))
    store.settle()
    return store


def later(store: Store, minutes: int = 1) -> None:
    """The next time of the schedule has come; what it makes runs."""
    for _ in range(minutes):
        store.now = (store.now // 60 + 1) * 60
        store.converge()


def told(store: Store) -> list[str]:
    return [tell.reason for tell in store.told if tell.about.kind == "CronJob"]


def test_a_job_is_made_when_its_time_has_come() -> None:
    store = lab()
    assert not store.all("Job") and next_due(store.snapshot(), store.now) == NEXT
    later(store)
    (job,) = store.all("Job")
    assert job.name == "c-28333334" and job.labels == {"a": "b"}
    assert job.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2023-11-14T22:14:00Z"
    assert job.metadata["ownerReferences"][0]["kind"] == "CronJob"
    status = store.get("CronJob", "c").status
    assert status["lastScheduleTime"] == "2023-11-14T22:14:00Z"
    assert [reference["name"] for reference in status["active"]] == ["c-28333334"]
    (pod,) = store.pods()
    assert pod.labels["job-name"] == job.name
    assert next_due(store.snapshot(), store.now) == NEXT + 60
    end_all(store)
    status = store.get("CronJob", "c").status
    assert "active" not in status and status["lastSuccessfulTime"]
    assert told(store) == ["SuccessfulCreate", "SawCompletedJob"]


def test_of_jobs_that_are_over_a_few_are_kept() -> None:
    store = lab(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=0)
    for _ in range(4):
        later(store)
        end_all(store)
    assert names(store.all("Job")) == ["c-28333336", "c-28333337"]
    store.edit("CronJob", "c", successfulJobsHistoryLimit=0)
    store.settle()
    assert not store.all("Job") and told(store).count("SuccessfulDelete") == 4


def test_side_by_side_one_at_a_time_or_the_new_one_instead() -> None:
    for policy, count in (("Allow", 2), ("Forbid", 1), ("Replace", 1)):
        store = lab(concurrencyPolicy=policy)
        later(store, 2)
        assert len(store.all("Job")) == count
        assert ("JobAlreadyActive" in told(store)) is (policy == "Forbid")
        assert ("c-28333335" in names(store.all("Job"))) is (policy != "Forbid")
    assert conditions(store.all("Job")[0]) == {}


def test_what_could_not_begin_in_time_does_not() -> None:
    for deadline, count in ((None, 1), (90, 1), (10, 0)):
        store = lab(suspend=True, **({} if deadline is None else {"startingDeadlineSeconds": deadline}))
        store.now = NEXT + 30
        store.settle()
        assert not store.all("Job") and next_due(store.snapshot(), store.now) is None
        store.edit("CronJob", "c", suspend=False)
        store.converge()
        assert len(store.all("Job")) == count
        assert ("MissSchedule" in told(store)) is (count == 0)


def test_only_the_last_of_times_that_were_missed_is_made_up_for() -> None:
    store = lab(suspend=True)
    store.now = NEXT + 200 * 60
    store.edit("CronJob", "c", suspend=False)
    store.converge()
    assert names(store.all("Job")) == [f"c-{28333334 + 200}"]
    assert "TooManyMissedTimes" in told(store)


def test_jobs_go_with_their_cron_job() -> None:
    store = lab()
    later(store)
    store.delete(store.get("CronJob", "c").key)
    store.converge()
    assert not store.all("Job") and not store.all("Pod")


def test_a_job_that_went_is_missed() -> None:
    store = lab()
    later(store)
    store.delete(store.all("Job")[0].key)
    store.converge()
    assert "active" not in store.get("CronJob", "c").status and told(store)[-1] == "MissingJob"
    assert not store.all("Job")


def test_a_quota_may_refuse_a_job() -> None:
    store = lab()
    store.put(make("ResourceQuota", "q", spec={"hard": {"count/jobs.batch": "0"}}))
    store.settle()
    store.now = NEXT
    store.step()
    assert not store.all("Job") and "lastScheduleTime" not in store.get("CronJob", "c").status
    (refused,) = [tell for tell in store.told if tell.about.kind == "CronJob"]
    assert refused.reason == "FailedCreate" and refused.message == (
        'Error creating job: jobs.batch "c-28333334" is forbidden: exceeded quota: q, requested:'
        " count/jobs.batch=1, used: count/jobs.batch=0, limited: count/jobs.batch=0"
    )
