"""StatefulSets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.apps import rolloutstatus, workload
from emulab.kinds.apps.rollouts import OF_STATEFUL_SETS
from emulab.kinds.apps.workload import template_cells, workload_spec
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import STATEFUL_SET
from emulab.model.checks import count, dns_label, one_of

if TYPE_CHECKING:
    from emulab.model.objects import Object


def _cells(o: Raw, now: float) -> Cells:
    ready = f"{cells.number(cells.status(o), 'readyReplicas')}/{cells.number(cells.spec(o), 'replicas', 1)}"
    return [cells.name(o), ready, cells.age(o, now)], template_cells(o)


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    """As `ValidateStatefulSetUpdate` has it."""
    workload.stays(old, new, "serviceName", "")
    workload.stays(old, new, "podManagementPolicy", "OrderedReady")
    workload.stays(old, new, "volumeClaimTemplates", [])
    return workload.keep_replicas(old, new, spec)


_spec = workload_spec(
    "apps.v1.StatefulSetSpec",
    OF_STATEFUL_SETS,
    replicas=count,
    podManagementPolicy=one_of("OrderedReady", "Parallel"),
    ordinals=typed("apps.v1.StatefulSetOrdinals", {"start": count}),
)
DEFINITION = Definition(
    check=whole(STATEFUL_SET, dns_label, _spec),
    merge=_merge,
    warnings=workload.warnings,
    fields=workload.workload_fields(
        "minReadySeconds ordinals podManagementPolicy replicas revisionHistoryLimit serviceName"
        " updateStrategy.rollingUpdate.partition updateStrategy.type",
        kept="persistentVolumeClaimRetentionPolicy",
        ignored={
            "updateStrategy.rollingUpdate.maxUnavailable": "one Pod is replaced after the other",
            "volumeClaimTemplates": "programs see no volumes",
        },
    ),
    columns=Columns(("NAME", "READY", "AGE"), workload.WIDE[:2], _cells),
    describe=workload.description(OF_STATEFUL_SETS),
    rollout=rolloutstatus.of_statefulset,
)
