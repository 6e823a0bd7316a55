"""Whether a Job has failed or succeeded before all of it is done, as its limits and policies say.

The words are those of pkg/controller/job: job_controller.go, pod_failure_policy.go and success_policy.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emulab.cluster.controllers.pods import has_ended, is_ending
from emulab.cluster.controllers.world import unix_time
from emulab.kinds.batch.indexes import read
from emulab.model.objects import Object


class JobVerdict(NamedTuple):
    """Why a Job is over: the reason and the message of its conditions."""

    reason: str
    message: str


REACHED = JobVerdict("CompletionsReached", "Reached expected number of succeeded pods")
TOO_OFTEN = JobVerdict("BackoffLimitExceeded", "Job has reached the specified backoff limit")
TOO_LONG = JobVerdict("DeadlineExceeded", "Job was active longer than specified deadline")
TOO_MANY_INDEXES = JobVerdict(
    "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
)
FAILED_INDEXES = JobVerdict("FailedIndexes", "Job has failed indexes")


class Matched(NamedTuple):
    """What `podFailurePolicy` says of a Pod that failed."""

    action: str = "Count"
    message: str = ""


def failure_policy(spec: Mapping[str, Any], pod: Object) -> Matched:
    """The first rule that a failed Pod matches (KEP-3329). One that was deleted before it failed matches none."""
    if not has_ended(pod):
        return Matched()
    for number, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        codes = rule.get("onExitCodes")
        why = _by_codes(pod, codes) if codes else _by_conditions(pod, rule.get("onPodConditions") or ())
        if why:
            return Matched(rule["action"], f"{why} matching {rule['action']} rule at index {number}")
    return Matched()


def _by_codes(pod: Object, codes: Mapping[str, Any]) -> str:
    for field in ("containerStatuses", "initContainerStatuses"):
        for status in pod.status.get(field) or ():
            ended = (status.get("state") or {}).get("terminated")
            if not ended or codes.get("containerName", status["name"]) != status["name"]:
                continue
            code = ended.get("exitCode") or 0
            if code and (code in codes["values"]) == (codes["operator"] == "In"):
                where = f"{pod.namespace}/{pod.name}"
                return f"Container {status['name']} for pod {where} failed with exit code {code}"
    return ""


def _by_conditions(pod: Object, patterns: Sequence[Mapping[str, Any]]) -> str:
    there = {c.get("type"): c.get("status") for c in pod.status.get("conditions") or ()}
    for pattern in patterns:
        if there.get(pattern["type"]) == pattern.get("status", "True"):
            return f"Pod {pod.namespace}/{pod.name} has condition {pattern['type']}"
    return ""


def restarted_too_often(spec: Mapping[str, Any], pods: Sequence[Object]) -> bool:
    """With restartPolicy OnFailure a container that is started again is one more try (`pastBackoffLimitOnFailure`)."""
    if (spec["template"].get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        int(status.get("restartCount") or 0)
        for pod in pods
        if not has_ended(pod) and not is_ending(pod)
        for field in ("initContainerStatuses", "containerStatuses")
        for status in pod.status.get(field) or ()
    )
    limit = int(spec["backoffLimit"])
    return restarts > 0 if limit == 0 else restarts >= limit


def deadline(spec: Mapping[str, Any], status: Mapping[str, Any]) -> float | None:
    """The Unix time until which a Job that is no longer suspended may run; None: for ever."""
    seconds, begun = spec.get("activeDeadlineSeconds"), unix_time(status.get("startTime"))
    return None if seconds is None or begun is None or spec.get("suspend") else begun + seconds


def success_policy(spec: Mapping[str, Any], done: frozenset[int]) -> JobVerdict | None:
    """Whether the indexes that have succeeded are enough (KEP-3998)."""
    for number, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
        indexes = read(rule["succeededIndexes"]) if "succeededIndexes" in rule else None
        counted = done if indexes is None else done & indexes
        needed = rule.get("succeededCount", 1 if indexes is None else len(indexes))
        if len(counted) >= needed:
            return JobVerdict("SuccessPolicy", f"Matched rules at index {number}")
    return None
