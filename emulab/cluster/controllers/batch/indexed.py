"""What Indexed Jobs have beside others: each Pod has an index of its own (KEP-2214, KEP-3850)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emulab.cluster.controllers.batch import delays
from emulab.cluster.controllers.batch.tracking import has_succeeded, is_over
from emulab.kinds.apps.givenlabels import INDEX_LABEL as INDEX
from emulab.kinds.batch.jobspec import INDEXED
from emulab.model.objects import Object

FAILURES = "batch.kubernetes.io/job-index-failure-count"
"""Annotation: how often the Pods of this index have failed before."""
VARIABLE = "JOB_COMPLETION_INDEX"


def is_indexed(spec: Mapping[str, Any]) -> bool:
    return spec.get("completionMode") == INDEXED


def index_of(pod: Object) -> int | None:
    """The index of a Pod; None where it has none."""
    text = pod.annotations.get(INDEX, "")
    return int(text) if text.isdecimal() and len(text) < 10 else None


def failures_before(pod: Object) -> int:
    text = pod.annotations.get(FAILURES, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def failures_of(index: int, pods: Iterable[Object]) -> int:
    """How often the Pods of an index have failed."""
    return max(
        (
            failures_before(pod) + 1
            for pod in pods
            if index_of(pod) == index and is_over(pod) and not has_succeeded(pod)
        ),
        default=0,
    )


def next_try(index: int, pods: Iterable[Object]) -> float:
    """When the next Pod of an index may be made, which waits for those of the same index alone."""
    mine = [pod for pod in pods if index_of(pod) == index and is_over(pod)]
    failures = failures_of(index, mine)
    return max(map(delays.ended_at, mine)) + delays.after(failures) if failures else 0.0


def with_index(template: Mapping[str, Any], job: str, index: int, failures: int | None) -> dict[str, Any]:
    """The template of the Pod with an index. `failures` where these are counted for each index."""
    metadata, spec = template.get("metadata") or {}, dict(template.get("spec") or {})
    annotations = {**(metadata.get("annotations") or {}), INDEX: str(index)}
    if failures is not None:
        annotations[FAILURES] = str(failures)
    labels = {**(metadata.get("labels") or {}), INDEX: str(index)}
    for field in ("initContainers", "containers"):
        if spec.get(field):
            spec[field] = [_told(container) for container in spec[field]]
    spec["hostname"] = f"{job}-{index}"
    return {"metadata": {**metadata, "annotations": annotations, "labels": labels}, "spec": spec}


def _told(container: Mapping[str, Any]) -> dict[str, Any]:
    """A container with the variable, unless it has one of that name."""
    env = container.get("env") or ()
    if any(entry.get("name") == VARIABLE for entry in env):
        return dict(container)
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**container, "env": [*env, {"name": VARIABLE, "valueFrom": source}]}
