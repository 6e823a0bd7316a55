"""Deployments."""

from __future__ import annotations

from typing import Any

from emulab.kinds import cells
from emulab.kinds.apps import defaults, rolloutstatus, workload
from emulab.kinds.apps.rollouts import OF_DEPLOYMENTS, PROGRESS_DEADLINE
from emulab.kinds.apps.workload import template_cells, workload_spec
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.registry import DEPLOYMENT
from emulab.model.checks import Problems, count, dns_subdomain, wrong


def _cells(o: Raw, now: float) -> Cells:
    status = cells.status(o)
    ready = f"{cells.number(status, 'readyReplicas')}/{cells.number(cells.spec(o), 'replicas', 1)}"
    counts = [str(cells.number(status, field)) for field in ("updatedReplicas", "availableReplicas")]
    return [cells.name(o), ready, *counts, cells.age(o, now)], [
        *template_cells(o),
        cells.selector_text(cells.spec(o).get("selector")),
    ]


def _ready_before_the_deadline(spec: dict[str, Any]) -> Problems:
    """A Pod that must be Ready for longer than a rollout may take would never be available in time."""
    deadline = spec.get("progressDeadlineSeconds", PROGRESS_DEADLINE)
    if deadline > spec.get("minReadySeconds", 0):
        return ()
    return wrong(f"{deadline} must be greater than minReadySeconds", "progressDeadlineSeconds")


_spec = workload_spec(
    "apps.v1.DeploymentSpec",
    OF_DEPLOYMENTS,
    (_ready_before_the_deadline,),
    replicas=count,
    progressDeadlineSeconds=count,
)
DEFINITION = Definition(
    check=whole(DEPLOYMENT, dns_subdomain, _spec),
    written=defaults.written(defaults.deployment),
    created=workload.one_replica,
    merge=workload.keep_replicas,
    annotations=("deployment.kubernetes.io/",),
    warnings=workload.warnings,
    fields=workload.workload_fields(
        "minReadySeconds paused progressDeadlineSeconds replicas revisionHistoryLimit strategy"
    ),
    columns=Columns(("NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"), workload.WIDE, _cells),
    describe=workload.description(OF_DEPLOYMENTS),
    rollout=rolloutstatus.of_deployment,
)
