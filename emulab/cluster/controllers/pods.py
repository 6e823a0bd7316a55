"""What a Pod's fields mean to controllers, and how they make Pods.

Which Pods count is decided by Kubernetes' pkg/controller/controller_utils.go (`IsPodActive`) and
pkg/api/v1/pod (`IsPodReady`, `IsPodAvailable`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from emulab.cluster.controllers.names import new_uid
from emulab.cluster.controllers.world import WorkingCopy, rfc3339, uid, unix_time
from emulab.kinds.registry import POD
from emulab.model.objects import Object

ENDED = ("Succeeded", "Failed")


class Counts(NamedTuple):
    """How many of an owner's active Pods there are, are Ready, and were Ready for `minReadySeconds`."""

    replicas: int = 0
    ready: int = 0
    available: int = 0


def phase(pod: Object) -> str:
    return str(pod.status.get("phase") or "Pending")


def is_ending(pod: Object) -> bool:
    return bool(pod.metadata.get("deletionTimestamp"))


def has_ended(pod: Object) -> bool:
    return pod.status.get("phase") in ENDED


def is_active(pod: Object) -> bool:
    """Whether the Pod counts as a replica: neither ending nor ended."""
    return not is_ending(pod) and not has_ended(pod)


def condition(o: Object, type_: str) -> Mapping[str, Any]:
    """The status condition of that type; empty when there is none."""
    conditions: Sequence[Mapping[str, Any]] = o.status.get("conditions") or ()
    for entry in conditions:
        if entry.get("type") == type_:
            return entry
    return {}


def is_ready(pod: Object) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def available_at(pod: Object, min_ready: float) -> float | None:
    """When a Ready Pod becomes available; None for a Pod that isn't Ready."""
    ready = condition(pod, "Ready")
    if ready.get("status") != "True":
        return None
    since = unix_time(ready.get("lastTransitionTime")) if min_ready else 0.0
    return (since or 0.0) + min_ready


def is_available(pod: Object, min_ready: float, now: float) -> bool:
    due = available_at(pod, min_ready)
    return due is not None and due <= now


def min_ready_seconds(owner: Object) -> float:
    return float(owner.spec.get("minReadySeconds") or 0)


def replicas_asked(owner: Object) -> int:
    """`spec.replicas` with its default."""
    replicas = owner.spec.get("replicas")
    return 1 if replicas is None else int(replicas)


def count(world: WorkingCopy, owner: Object) -> Counts:
    """The owner's Pods counted; remembered until one of them changes."""
    known = world.counts.get(uid(owner))
    world.read(POD)
    if isinstance(known, Counts):
        return known
    min_ready = min_ready_seconds(owner)
    active = [pod for pod in world.owned(owner, POD) if is_active(pod)]
    ready = [pod for pod in active if is_ready(pod)]
    late = sum(not is_available(pod, min_ready, world.now) for pod in ready) if min_ready else 0
    counts = Counts(len(active), len(ready), len(ready) - late)
    world.counts[uid(owner)] = counts
    return counts


def share(value: int | str, total: int, *, up: bool) -> int:
    """A number or percentage of `total`, rounded as asked (apimachinery's intstr)."""
    text = str(value)
    if not text.endswith("%"):
        return int(text)
    part = int(text[:-1]) * total
    return ceil(part / 100) if up else part // 100


def new_pod(
    namespace: str,
    name: str,
    template: Mapping[str, Any],
    reference: Mapping[str, Any],
    labels: Mapping[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> Object:
    """A Pod from a template. It shares the template's `labels` and `spec` unless others are given."""
    given = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": (given.get("labels") or {}) if labels is None else labels,
        "ownerReferences": [reference],
        "uid": new_uid(POD.key(namespace, name), str(reference["uid"])),
    }
    metadata |= {name: given[name] for name in ("annotations", "finalizers") if given.get(name)}
    return Object(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": template.get("spec") or {} if spec is None else spec,
            "status": {"phase": "Pending"},
        }
    )


def with_condition(
    status: Mapping[str, Any], now: float, type_: str, value: str, reason: str = "", message: str = ""
) -> dict[str, Any]:
    """`status` with one condition set; `lastTransitionTime` moves only when the condition's status does."""
    conditions = list(status.get("conditions") or ())
    old: Mapping[str, Any] = next((c for c in conditions if c.get("type") == type_), {})
    same = old.get("status") == value
    new = {
        "type": type_,
        "status": value,
        "lastTransitionTime": old.get("lastTransitionTime") if same else rfc3339(now),
    }
    if reason:
        new["reason"] = reason
    if message:
        new["message"] = message
    if old and all(old.get(field) == new.get(field) for field in ("status", "reason", "message")):
        return dict(status)
    if old:
        conditions[conditions.index(old)] = new
    else:
        conditions.append(new)
    return {**status, "conditions": conditions}
