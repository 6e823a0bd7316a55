"""Jobs: their Pods run to their end, and how many of them do is what a Job is about."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import Store, conditions, make, names, node, template

from emulab.cluster.admission.merge import merge
from emulab.cluster.controllers import next_due
from emulab.cluster.controllers.batch import TRACKING
from emulab.cluster.controllers.batch.delays import after
from emulab.errors import UserError
from emulab.model.objects import Object

BEGAN = 1_700_000_000.0  # when the store's clock begins: 2023-11-14T22:13:20Z


def job(name: str = "j", policy: str = "Never", **spec: Any) -> Object:
    pods = template("x", restartPolicy=policy)
    return merge(None, make("Job", name, metadata={"uid": "u1"}, spec={"template": pods, **spec}))


def lab(*jobs: Object, **options: Any) -> Store:
    store = Store(node("node1"), *jobs, **options)
    store.settle()
    store.kubelet()
    store.settle()
    return store


def end(store: Store, pod: Object, code: int = 0) -> None:
    """The Pod ends by itself, with that exit code, a second after the store's clock."""
    stamp = (
        f"2023-11-14T22:{13 + int(store.now - BEGAN + 20) // 60:02}:{int(store.now - BEGAN + 20) % 60:02}Z"
    )
    ended = {"terminated": {"exitCode": code, "finishedAt": stamp}}
    phase = "Failed" if code else "Succeeded"
    told = {"phase": phase, "containerStatuses": [{"name": "c", "state": ended}]}
    store.put(store.objects[pod.key].replace(status={**pod.status, **told}))


def running(store: Store) -> list[Object]:
    return [pod for pod in store.pods() if pod.status["phase"] == "Running"]


def end_all(store: Store, code: int = 0) -> None:
    for pod in running(store):
        end(store, pod, code)
    store.settle()
    store.kubelet()
    store.settle()


def status(store: Store, name: str = "j") -> dict[str, Any]:
    return dict(store.get("Job", name).status)


def why(store: Store, kind: str) -> tuple[str, str]:
    found = next(c for c in status(store)["conditions"] if c["type"] == kind)
    return found["reason"], found["message"]


def told(store: Store) -> list[tuple[str, str]]:
    return [(tell.reason, tell.message) for tell in store.told if tell.about.kind == "Job"]


def test_a_job_has_one_pod_and_is_complete_when_it_has_succeeded() -> None:
    store = lab(job())
    (pod,) = store.pods()
    assert pod.metadata["finalizers"] == [TRACKING]
    labels = {"batch.kubernetes.io/controller-uid": "u1", "batch.kubernetes.io/job-name": "j"}
    assert {**labels, "controller-uid": "u1", "job-name": "j"}.items() <= pod.labels.items()
    assert (status(store)["active"], status(store)["ready"]) == (1, 1)
    end_all(store)
    (pod,) = store.pods()
    assert "finalizers" not in pod.metadata
    done = status(store)
    assert done["succeeded"] == 1 and "active" not in done and done["uncountedTerminatedPods"] == {}
    assert conditions(store.get("Job", "j")) == {"SuccessCriteriaMet": "True", "Complete": "True"}
    assert why(store, "Complete") == ("CompletionsReached", "Reached expected number of succeeded pods")
    assert done["startTime"] and done["completionTime"]
    assert told(store) == [("SuccessfulCreate", f"Created pod: {pod.name}"), ("Completed", "Job completed")]


def test_as_many_at_once_as_it_says_until_all_are_done() -> None:
    store = lab(job(completions=5, parallelism=2))
    seen = []
    while running(store):
        seen.append(len(running(store)))
        end_all(store)
    assert seen == [2, 2, 1] and status(store)["succeeded"] == 5
    assert conditions(store.get("Job", "j"))["Complete"] == "True"


def test_a_work_queue_is_done_once_one_pod_has_succeeded_and_none_runs() -> None:
    store = lab(job(parallelism=3))
    assert "completions" not in store.get("Job", "j").spec
    end(store, running(store)[0])
    store.settle()
    assert len(running(store)) == 2 and "Complete" not in conditions(store.get("Job", "j"))
    end_all(store)
    assert status(store)["succeeded"] == 3 and conditions(store.get("Job", "j"))["Complete"] == "True"


def test_a_pod_that_fails_is_replaced_after_a_while_until_there_were_too_many() -> None:
    store = lab(job(backoffLimit=2))
    for failures, delay in ((1, 10), (2, 20)):
        end_all(store, 1)
        assert status(store)["failed"] == failures and not running(store)
        assert next_due(store.snapshot(), store.now) == store.now + delay
        store.now += delay
        store.converge()
        assert len(running(store)) == 1
    end_all(store, 1)
    assert status(store)["failed"] == 3 and not running(store)
    assert conditions(store.get("Job", "j")) == {"FailureTarget": "True", "Failed": "True"}
    assert why(store, "Failed") == ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert told(store)[-1] == ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert "completionTime" not in status(store) and next_due(store.snapshot(), store.now) is None


def test_delays_grow_to_ten_minutes() -> None:
    assert [after(n) for n in (0, 1, 2, 3, 6, 7, 100)] == [0, 10, 20, 40, 320, 600, 600]


def test_restarts_of_containers_are_tries_too() -> None:
    store = lab(job(policy="OnFailure", backoffLimit=2))
    (pod,) = running(store)
    again = {"name": "c", "restartCount": 1, "state": {"running": {}}}
    store.put(pod.replace(status={**pod.status, "containerStatuses": [again]}))
    store.settle()
    assert running(store)
    store.put(pod.replace(status={**pod.status, "containerStatuses": [{**again, "restartCount": 2}]}))
    store.settle()
    store.kubelet()
    store.settle()
    assert why(store, "Failed")[0] == "BackoffLimitExceeded" and not store.pods()


def test_a_deadline_ends_what_runs_and_the_job_fails_when_that_has_ended() -> None:
    store = lab(job(activeDeadlineSeconds=30, parallelism=2, completions=2))
    assert next_due(store.snapshot(), store.now) == store.now + 30
    store.now += 30
    store.settle()
    assert conditions(store.get("Job", "j")) == {"FailureTarget": "True"}
    assert len(store.all("Pod")) == 2 and not store.pods()
    store.kubelet()
    store.settle()
    assert why(store, "Failed") == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert status(store)["failed"] == 2 and "active" not in status(store)


def test_a_finished_job_goes_with_its_pods_after_its_time() -> None:
    store = lab(job(ttlSecondsAfterFinished=60))
    end_all(store)
    assert next_due(store.snapshot(), store.now) == store.now + 60
    store.now += 60
    store.settle()
    assert not store.all("Job") and not store.all("Pod")


def test_a_suspended_job_has_no_pods_and_its_deadline_begins_when_it_is_resumed() -> None:
    store = lab(job(suspend=True, activeDeadlineSeconds=30))
    assert not store.pods() and "startTime" not in status(store)
    assert conditions(store.get("Job", "j")) == {"Suspended": "True"}
    store.now += 100
    store.edit("Job", "j", suspend=False)
    store.converge()
    assert len(running(store)) == 1 and conditions(store.get("Job", "j")) == {"Suspended": "False"}
    store.edit("Job", "j", suspend=True)
    store.settle()
    store.kubelet()
    store.settle()
    assert not store.all("Pod") and "failed" not in status(store)
    assert [reason for reason, _ in told(store)] == [
        *("Suspended", "Resumed", "SuccessfulCreate", "Suspended", "SuccessfulDelete")
    ]


def test_an_indexed_job_has_a_pod_for_each_index() -> None:
    store = lab(job(completions=3, parallelism=2, completionMode="Indexed"))
    first, second = sorted(running(store), key=lambda pod: pod.name)
    assert first.name.startswith("j-0-") and second.name.startswith("j-1-")
    index = {"batch.kubernetes.io/job-completion-index": "0"}
    assert index.items() <= first.annotations.items() and index.items() <= first.labels.items()
    assert first.spec["hostname"] == "j-0"
    path = "metadata.labels['batch.kubernetes.io/job-completion-index']"
    variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": path}}}
    assert first.spec["containers"][0]["env"] == [variable]
    end(store, second)
    end(store, first, 1)
    store.settle()
    store.kubelet()
    assert status(store)["completedIndexes"] == "1"
    store.now += 10
    store.converge()
    assert [name[:4] for name in names(running(store))] == ["j-0-", "j-2-"]
    end_all(store)
    assert status(store)["completedIndexes"] == "0-2" and status(store)["succeeded"] == 3
    assert conditions(store.get("Job", "j"))["Complete"] == "True"


def test_each_index_may_have_its_own_number_of_failures() -> None:
    spec = {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1}
    store = lab(job(**spec))
    for count in ("0", "1"):
        failing = next(pod for pod in running(store) if pod.name.startswith("j-0-"))
        assert failing.annotations["batch.kubernetes.io/job-index-failure-count"] == count
        end(store, failing, 1)
        store.settle()
        store.now += 10
        store.converge()
    assert status(store)["failedIndexes"] == "0" and len(running(store)) == 1
    end_all(store)
    assert why(store, "Failed") == ("FailedIndexes", "Job has failed indexes")
    assert status(store)["completedIndexes"] == "1"


@pytest.mark.parametrize(
    ("action", "code", "failed", "reason"),
    [("FailJob", 42, 1, "PodFailurePolicy"), ("Ignore", 42, 0, ""), ("FailJob", 1, 1, "")],
)
def test_a_policy_says_what_failures_mean(action: str, code: int, failed: int, reason: str) -> None:
    rule = {"action": action, "onExitCodes": {"operator": "In", "values": [42]}}
    store = lab(job(podFailurePolicy={"rules": [rule]}))
    (pod,) = running(store)
    end_all(store, code)
    assert status(store).get("failed", 0) == failed
    assert conditions(store.get("Job", "j")).get("Failed", "") == ("True" if reason else "")
    if reason:
        message = f"Container c for pod default/{pod.name} failed with exit code 42 matching FailJob rule at index 0"
        assert why(store, "Failed") == (reason, message)


def test_a_policy_says_which_successes_are_enough() -> None:
    spec = {"completions": 3, "parallelism": 3, "completionMode": "Indexed"}
    store = lab(job(**spec, successPolicy={"rules": [{"succeededIndexes": "1-2", "succeededCount": 1}]}))
    end(store, next(pod for pod in running(store) if pod.name.startswith("j-2-")))
    store.settle()
    assert conditions(store.get("Job", "j")) == {"SuccessCriteriaMet": "True"}
    store.kubelet()
    store.settle()
    assert why(store, "Complete") == ("SuccessPolicy", "Matched rules at index 0")


def test_a_pod_that_is_deleted_is_a_failure_and_is_replaced() -> None:
    store = lab(job())
    (pod,) = running(store)
    store.delete(pod.key)
    store.settle()
    assert status(store)["failed"] == 1 and status(store)["terminating"] == 1
    store.kubelet()
    store.now += 10
    store.converge()
    assert len(running(store)) == 1


def test_where_only_what_has_failed_is_replaced_a_deleted_pod_is_waited_for() -> None:
    store = lab(job(podReplacementPolicy="Failed"))
    (pod,) = running(store)
    store.delete(pod.key)
    store.settle()
    assert "failed" not in status(store) and len(store.all("Pod")) == 1
    end(store, store.objects[pod.key], 143)
    store.now += 10
    store.converge()
    assert status(store)["failed"] == 1 and len(running(store)) == 1


def test_what_has_ended_is_counted_once_although_it_is_deleted() -> None:
    store = lab(job(completions=2))
    (pod,) = running(store)
    end(store, pod)
    store.delete(pod.key)
    assert pod.key in store.objects
    store.settle()
    assert pod.key not in store.objects and status(store)["succeeded"] == 1


def test_pods_go_with_their_job() -> None:
    store = lab(job(completions=2, parallelism=2), graceful=False)
    store.delete(store.get("Job", "j").key)
    store.converge()
    assert not store.all("Pod")


def test_parallelism_may_change() -> None:
    store = lab(job(completions=9, parallelism=1))
    store.edit("Job", "j", parallelism=3)
    store.converge()
    assert len(running(store)) == 3
    store.edit("Job", "j", parallelism=1)
    store.converge()
    assert len(running(store)) == 1


def test_what_may_change_and_what_may_not() -> None:
    old = job(completions=2)
    asked = make("Job", "j", spec={"template": template("x", restartPolicy="Never"), "completions": 2})
    assert merge(old, asked).spec == old.spec
    assert merge(old, asked.replace(spec={**asked.spec, "backoffLimit": 1})).spec["backoffLimit"] == 1
    for spec, field in (
        ({"completions": 3}, "completions"),
        ({"template": template("y", restartPolicy="Never")}, "template"),
        ({"completionMode": "Indexed"}, "completionMode"),
    ):
        with pytest.raises(UserError, match=f"spec.{field}: can't be changed; delete the Job first"):
            merge(old, asked.replace(spec={**asked.spec, **spec}))
    indexed = {"completionMode": "Indexed", "completions": 2, "parallelism": 2}
    larger = asked.replace(spec={**asked.spec, **indexed, "completions": 4, "parallelism": 4})
    assert merge(job(**indexed), larger).spec["completions"] == 4


def test_a_quota_may_refuse_its_pods_until_there_is_room() -> None:
    quota = make("ResourceQuota", "q", spec={"hard": {"pods": "1"}})
    store = Store(node("node1"), quota, job(completions=3, parallelism=3))
    store.settle()
    assert len(store.pods()) == 1
    (refused,) = {what for reason, what in told(store) if reason == "FailedCreate"}
    assert refused.startswith('Error creating: pods "j-') and "exceeded quota: q" in refused
    store.kubelet()
    store.settle()
    for _ in range(3):
        end_all(store)
    assert status(store)["succeeded"] == 3
    assert conditions(store.get("Job", "j")) == {"SuccessCriteriaMet": "True", "Complete": "True"}
