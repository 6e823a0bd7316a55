"""Deployments become ReplicaSets: pkg/controller/deployment.

One ReplicaSet a template, told apart by the label `pod-template-hash`; `rollout` says how many replicas each
shall have. Old ones stay, empty, for `kubectl rollout undo`, as many as `revisionHistoryLimit` says.
"""

from __future__ import annotations

from itertools import count as count_up
from typing import Any

from emulab.cluster.controllers import rollout, room, telling
from emulab.cluster.controllers.names import controller_reference, new_uid, template_hash
from emulab.cluster.controllers.pods import condition, count, replicas_asked, with_condition
from emulab.cluster.controllers.rollout import DeploymentRollout
from emulab.cluster.controllers.world import WorkingCopy, owner_uid, rfc3339, uid, unix_time
from emulab.kinds.apps.givenlabels import HASH_LABEL
from emulab.kinds.apps.rollouts import PROGRESS_DEADLINE
from emulab.kinds.registry import DEPLOYMENT, POD, REPLICA_SET
from emulab.model.objects import Object

REVISION = "deployment.kubernetes.io/revision"
HISTORY_LIMIT = 10  # default of revisionHistoryLimit
_NOT_COPIED = (
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    *(rollout.DESIRED, rollout.MAXIMUM, "deployment.kubernetes.io/revision-history"),
)  # annotations a ReplicaSet doesn't get
_COUNTERS = ("updatedReplicas", "readyReplicas", "availableReplicas")


def roll(world: WorkingCopy) -> None:
    """Takes every Deployment's rollout as far as its Pods' readiness allows."""
    for deployment in world.kind(DEPLOYMENT):
        if world.is_over(deployment):
            continue
        plan = _rollout(world, deployment)
        if deployment.spec.get("paused"):
            rollout.resize(plan)
        else:
            if rollout.was_resized(plan):
                rollout.resize(plan)
            if plan.want.strategy == "Recreate":
                if rollout.recreate(plan):
                    _ensure_new(plan)
                    rollout.fill(plan)
            else:
                _ensure_new(plan)
                rollout.rolling_update(plan)
        _number(plan)
        _forget(plan)


def report(world: WorkingCopy) -> None:
    """Writes every Deployment's status and conditions; counts of zero are left out, as in the API."""
    for deployment in world.kind(DEPLOYMENT):
        plan = _rollout(world, deployment)
        counts = [count(world, rs) for rs in plan.sets()]
        asked = sum(replicas_asked(rs) for rs in plan.sets())
        available = sum(c.available for c in counts)
        fields = {
            "observedGeneration": deployment.metadata.get("generation", 1),
            "replicas": sum(c.replicas for c in counts),
            "updatedReplicas": count(world, plan.new).replicas if plan.new else 0,
            "readyReplicas": sum(c.ready for c in counts),
            "availableReplicas": available,
            "unavailableReplicas": max(0, asked - available),
            "conditions": deployment.status.get("conditions"),
        }
        status: dict[str, Any] = {field: value for field, value in fields.items() if value}
        enough = available >= plan.want.replicas - plan.unavailable
        status = with_condition(
            status,
            world.now,
            "Available",
            "True" if enough else "False",
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "Enough replicas are available." if enough else "Too few replicas are available.",
        )
        status = _with_failure_of_sets(plan, status)
        world.put(deployment.replace(status=_progressing(plan, status)))


def _with_failure_of_sets(plan: DeploymentRollout, status: dict[str, Any]) -> dict[str, Any]:
    """`status` with its ReplicaSets' condition ReplicaFailure, the new one's first (`getReplicaFailures`)."""
    failing = [f for rs in ([plan.new] if plan.new else []) + plan.olds() if (f := telling.failure(rs))]
    if failing:
        return with_condition(status, plan.world.now, telling.FAILURE, "True", *room.reason(failing[0]))
    conditions = [c for c in status.get("conditions") or () if c.get("type") != telling.FAILURE]
    return {**status, "conditions": conditions}


def _rollout(world: WorkingCopy, deployment: Object) -> DeploymentRollout:
    """The Deployment with its ReplicaSets, the one of its present template apart.

    Should a stranger have taken the name that the template's hash gives, another hash is tried.
    """
    plan = world.once(uid(deployment), lambda: _looked_for(world, deployment))
    plan.deployment = deployment
    return plan


def _looked_for(world: WorkingCopy, deployment: Object) -> DeploymentRollout:
    template = deployment.spec.get("template") or {}
    for collisions in count_up():
        hashed = template_hash(template, collisions)
        key = REPLICA_SET.key(deployment.namespace, f"{deployment.name}-{hashed}")
        rs = world.get(key)
        if rs is None or owner_uid(rs) == uid(deployment):
            return DeploymentRollout(world, deployment, hashed, key)
    raise AssertionError("unreachable")


def _ensure_new(plan: DeploymentRollout) -> None:
    """Makes the ReplicaSet of the present template, empty, if it isn't there."""
    if plan.new is not None:
        return
    deployment, want, label = plan.deployment, plan.want, {HASH_LABEL: plan.hash}
    given = want.template.get("metadata") or {}
    labels = {**(given.get("labels") or {}), **label}
    selector = {**want.selector, "matchLabels": {**(want.selector.get("matchLabels") or {}), **label}}
    copied = {name: value for name, value in deployment.annotations.items() if name not in _NOT_COPIED}
    spec: dict[str, Any] = {
        "replicas": 0,
        "selector": selector,
        "template": {**want.template, "metadata": {**given, "labels": labels}},
    }
    if deployment.spec.get("minReadySeconds"):
        spec["minReadySeconds"] = deployment.spec["minReadySeconds"]
    metadata = {
        "name": plan.new_key.name,
        "namespace": plan.new_key.namespace,
        "labels": labels,
        "annotations": {**copied, **plan.size_annotations()},
        "ownerReferences": [controller_reference(deployment)],
        "uid": new_uid(plan.new_key, uid(deployment)),
    }
    raw = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}
    plan.refused = telling.make_set(plan.world, deployment, Object(raw))


def _number(plan: DeploymentRollout) -> None:
    """Gives the present ReplicaSet the highest revision, and its number to the Deployment."""
    rs, world = plan.new, plan.world
    if rs is None:
        return
    revision, oldest_next = rollout.revision(rs), max(map(rollout.revision, plan.olds()), default=0) + 1
    if revision < oldest_next:
        revision = oldest_next
    seconds = plan.deployment.spec.get("minReadySeconds") or 0
    if (rs.spec.get("minReadySeconds") or 0) != seconds:  # not part of the template, so it changes in place
        rs = world.put(rs.replace(spec={**rs.spec, "minReadySeconds": seconds}))
    told = {name: text for name, text in plan.deployment.annotations.items() if name not in _NOT_COPIED}
    if not told.items() <= rs.annotations.items():  # such as a change-cause
        rs = world.put(rs.replace(metadata={**rs.metadata, "annotations": {**rs.annotations, **told}}))
    for o in (rs, plan.deployment):
        if o.annotations.get(REVISION) != str(revision):
            annotations = {**o.annotations, REVISION: str(revision)}
            world.put(o.replace(metadata={**o.metadata, "annotations": annotations}))
    plan.deployment = world.get(plan.deployment.key) or plan.deployment


def _forget(plan: DeploymentRollout) -> None:
    """Deletes the oldest empty ReplicaSets beyond the history limit, once the rollout is complete."""
    limit = plan.deployment.spec.get("revisionHistoryLimit")
    olds = plan.olds()
    surplus = len(olds) - (HISTORY_LIMIT if limit is None else int(limit))
    if surplus > 0 and (plan.deployment.spec.get("paused") or _is_complete(plan)):
        for rs in olds[:surplus]:
            if replicas_asked(rs) == 0 and not plan.world.owned(rs, POD):
                plan.world.delete(rs)


def _is_complete(plan: DeploymentRollout) -> bool:
    """Whether all Pods are of the present template and available (`DeploymentComplete`)."""
    if plan.new is None:
        return False
    total = sum(count(plan.world, rs).replicas for rs in plan.sets())
    new = count(plan.world, plan.new)
    return total == new.replicas == new.available == plan.want.replicas


def _progressing(plan: DeploymentRollout, status: dict[str, Any]) -> dict[str, Any]:
    """`status` with the condition Progressing (`syncRolloutStatus`).

    Complete is complete: Pods that fail later don't make it a rollout again. While nothing moves, the
    condition's `lastUpdateTime` says since when; past the deadline it turns False.
    """
    world, old, name = plan.world, condition(plan.deployment, "Progressing"), plan.new_key.name
    before = plan.deployment.status
    same_template = name in str(old.get("message", ""))
    if plan.refused:
        state = ("False", telling.NO_SET, plan.refused)
    elif plan.deployment.spec.get("paused"):
        state = ("Unknown", "DeploymentPaused", "The rollout is paused.")
    elif _is_complete(plan) or (
        same_template
        and old.get("reason") == "NewReplicaSetAvailable"
        and status.get("replicas") == status.get("updatedReplicas")
    ):
        state = ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" is rolled out.')
    elif (
        not same_template
        or old.get("reason") in ("NewReplicaSetAvailable", telling.NO_SET)
        or any(status.get(field, 0) > before.get(field, 0) for field in _COUNTERS)
    ):
        state = ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is being rolled out.')
    elif (due := progress_due(plan.deployment)) is not None and due <= world.now:
        state = ("False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has not progressed in time.')
    else:
        return status
    value, reason, message = state
    moved = reason == "ReplicaSetUpdated"
    if not moved and (old.get("status"), old.get("reason"), old.get("message")) == state:
        return status
    status = with_condition(status, world.now, "Progressing", value, reason, message)
    status["conditions"] = [
        {**c, "lastUpdateTime": rfc3339(world.now)} if c.get("type") == "Progressing" else c
        for c in status["conditions"]
    ]
    return status


def progress_due(deployment: Object) -> float | None:
    """When a rollout under way is given up as stuck; None when none is under way."""
    old = condition(deployment, "Progressing")
    since = unix_time(old.get("lastUpdateTime"))
    if since is None or old.get("reason") != "ReplicaSetUpdated":
        return None
    given = deployment.spec.get("progressDeadlineSeconds")
    return since + (PROGRESS_DEADLINE if given is None else float(given))
