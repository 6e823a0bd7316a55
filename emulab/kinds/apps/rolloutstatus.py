"""How far a rollout is, in the words of `kubectl rollout status` (pkg/polymorphichelpers/rollout_status.go). Pure."""

from __future__ import annotations

from typing import Any

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.cells import Raw
from emulab.kinds.definition import RolloutStatus

_UNOBSERVED = "Waiting for {} spec update to be observed..."


def of_deployment(o: Raw) -> RolloutStatus:
    """Raises UserError where it takes longer than it may."""
    name, spec, status = cells.name(o), cells.spec(o), cells.status(o)
    if not _is_observed(o):
        return RolloutStatus(_UNOBSERVED.format("deployment"))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            raise UserError(f'deployment "{name}" exceeded its progress deadline')
    wanted, total = cells.number(spec, "replicas", 1), cells.number(status, "replicas")
    updated, available = (cells.number(status, field) for field in ("updatedReplicas", "availableReplicas"))
    waiting = f'Waiting for deployment "{name}" rollout to finish: '
    if updated < wanted:
        return RolloutStatus(f"{waiting}{updated} out of {wanted} new replicas have been updated...")
    if total > updated:
        return RolloutStatus(f"{waiting}{total - updated} old replicas are pending termination...")
    if available < updated:
        return RolloutStatus(f"{waiting}{available} of {updated} updated replicas are available...")
    return RolloutStatus(f'deployment "{name}" successfully rolled out', done=True)


def of_daemonset(o: Raw) -> RolloutStatus:
    """Raises UserError where its Pods aren't replaced by a rollout."""
    _strategy(o)
    if not _is_observed(o):
        return RolloutStatus(_UNOBSERVED.format("daemon set"))
    name, status = cells.name(o), cells.status(o)
    wanted, updated, available = (
        cells.number(status, field)
        for field in ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    )
    waiting = f'Waiting for daemon set "{name}" rollout to finish: '
    if updated < wanted:
        return RolloutStatus(f"{waiting}{updated} out of {wanted} new pods have been updated...")
    if available < wanted:
        return RolloutStatus(f"{waiting}{available} of {wanted} updated pods are available...")
    return RolloutStatus(f'daemon set "{name}" successfully rolled out', done=True)


def of_statefulset(o: Raw) -> RolloutStatus:
    """Raises UserError where its Pods aren't replaced by a rollout.

    An API server gives a StatefulSet that rolls a partition of 0, so all of them are told of as partitioned.
    """
    rolling: dict[str, Any] = _strategy(o).get("rollingUpdate") or {}
    if not _is_observed(o):
        return RolloutStatus(_UNOBSERVED.format("statefulset"))
    status, wanted = cells.status(o), cells.number(cells.spec(o), "replicas", 1)
    ready, updated = cells.number(status, "readyReplicas"), cells.number(status, "updatedReplicas")
    if ready < wanted:
        return RolloutStatus(f"Waiting for {wanted - ready} pods to be ready...")
    asked = wanted - cells.number(rolling, "partition")
    if updated < asked:
        return RolloutStatus(
            f"Waiting for partitioned roll out to finish: {updated} out of {asked} new pods have been updated..."
        )
    return RolloutStatus(f"partitioned roll out complete: {updated} new pods have been updated...", done=True)


def _strategy(o: Raw) -> dict[str, Any]:
    strategy: dict[str, Any] = cells.spec(o).get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        raise UserError("rollout status is only available for RollingUpdate strategy type")
    return strategy


def _is_observed(o: Raw) -> bool:
    observed = cells.number(cells.status(o), "observedGeneration")
    return 0 < observed >= cells.number(o["metadata"], "generation")
