"""ReplicaSets and ReplicationControllers become Pods.

As in pkg/controller/replicaset, which does it for both kinds, with the victims' order of controller_utils.go.
"""

from __future__ import annotations

from collections import Counter
from math import log2
from typing import Any

from emulab.cluster.controllers.names import controller_reference, generated_name
from emulab.cluster.controllers.pods import (
    condition,
    count,
    is_active,
    is_ready,
    new_pod,
    phase,
    replicas_asked,
)
from emulab.cluster.controllers.room import Room, importance, with_failure
from emulab.cluster.controllers.telling import Words, delete_pod, make_pod
from emulab.cluster.controllers.world import WorkingCopy, owner_uid, uid, unix_time
from emulab.kinds.registry import POD, REPLICA_SET, REPLICATION_CONTROLLER
from emulab.model.keys import GroupKind
from emulab.model.objects import Object

_WORDS: dict[GroupKind, Words] = {
    REPLICA_SET: Words("replicaset-controller"),
    REPLICATION_CONTROLLER: Words("replication-controller"),
}
"""The kinds, and as whom their controller tells of what it does."""

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"  # KEP-2255
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def scale(world: WorkingCopy) -> None:
    """Makes and deletes Pods until every one of them has as many active ones as it asks for."""
    for rs in sorted(_all(world), key=importance):
        if world.is_over(rs):
            continue
        surplus = count(world, rs).replicas - replicas_asked(rs)
        if surplus < 0:
            _make(world, rs, -surplus)
        elif surplus > 0:
            for pod in _victims(world, rs)[:surplus]:
                delete_pod(world, rs, pod, _WORDS[rs.type])


def report(world: WorkingCopy) -> None:
    """Writes every one's status; counts of zero are left out, as the API's `omitempty` does."""
    for rs in _all(world):
        counts = count(world, rs)
        wanted = (rs.spec.get("template") or {}).get("metadata") or {}
        labels = wanted.get("labels") or {}
        labelled = sum(
            pod.labels is labels or labels.items() <= pod.labels.items()
            for pod in world.owned(rs, POD)
            if is_active(pod)
        )
        status: dict[str, Any] = {"replicas": counts.replicas}
        if conditions := rs.status.get("conditions"):
            status["conditions"] = conditions
        optional = {
            "fullyLabeledReplicas": labelled,
            "readyReplicas": counts.ready,
            "availableReplicas": counts.available,
            "observedGeneration": rs.metadata.get("generation", 1),
        }
        status.update((field, value) for field, value in optional.items() if value)
        asked = counts.replicas if world.is_over(rs) else replicas_asked(rs)
        world.put(rs.replace(status=with_failure(world, rs, status, counts.replicas, asked)))


def _all(world: WorkingCopy) -> list[Object]:
    return [o for kind in _WORDS for o in world.kind(kind)]


def _make(world: WorkingCopy, rs: Object, number: int) -> None:
    reference = controller_reference(rs)
    template = rs.spec.get("template") or {}
    index = -1
    for _ in range(Room.of(world).grant(rs, number)):
        name, index = generated_name(world, POD.key(rs.namespace, rs.name), start=index + 1)
        if make_pod(world, rs, new_pod(rs.namespace, name, template, reference), _WORDS[rs.type]) is None:
            return


def _victims(world: WorkingCopy, rs: Object) -> list[Object]:
    """The ReplicaSet's active Pods, those to be deleted first in front (`ActivePodsWithRanks`).

    Where Pods crowd is judged over all ReplicaSets of the same Deployment, and not judged anew after each.
    """
    owner = owner_uid(rs)
    family = [relative for relative in world.kind(REPLICA_SET) if owner and owner_uid(relative) == owner] or [
        rs
    ]
    related = [pod for relative in family for pod in world.owned(relative, POD) if is_active(pod)]
    crowd = Counter(str(pod.spec.get("nodeName") or "") for pod in related)
    active = [pod for pod in world.owned(rs, POD) if is_active(pod)]
    return sorted(active, key=lambda pod: _rank(pod, crowd, world.now))


def _rank(pod: Object, crowd: Counter[str], now: float) -> tuple[object, ...]:
    """Where the Pod stands among the victims; every entry says: the smaller goes first."""
    node = str(pod.spec.get("nodeName") or "")
    restarts = max(
        (int(c.get("restartCount") or 0) for c in pod.status.get("containerStatuses") or ()), default=0
    )
    return (
        bool(node),
        _PHASES.get(phase(pod), 1),
        is_ready(pod),
        _cost(pod),
        -crowd[node],
        _age(condition(pod, "Ready").get("lastTransitionTime"), now) if is_ready(pod) else 0,
        -restarts,
        _age(pod.metadata.get("creationTimestamp"), now),
        uid(pod),
    )


def _cost(pod: Object) -> int:
    try:
        return int(pod.annotations.get(DELETION_COST) or 0)
    except ValueError:  # Kubernetes ignores what isn't a number here
        return 0


def _age(stamp: object, now: float) -> int:
    """An age by powers of two nanoseconds, so that nearly equal ones tie (KEP-2185)."""
    since = unix_time(stamp)
    age = 0.0 if since is None else now - since
    return int(log2(age * 1e9)) if age > 0 else -1
