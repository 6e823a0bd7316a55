"""ReplicaSets."""

from __future__ import annotations

from emulab.kinds import cells
from emulab.kinds.apps import workload
from emulab.kinds.apps.workload import template_cells, workload_spec
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.registry import REPLICA_SET
from emulab.kinds.selectable import field
from emulab.model.checks import count, dns_subdomain


def _cells(o: Raw, now: float) -> Cells:
    counts = [
        cells.number(cells.spec(o), "replicas", 1),
        cells.number(cells.status(o), "replicas"),
        cells.number(cells.status(o), "readyReplicas"),
    ]
    wide = [*template_cells(o), cells.selector_text(cells.spec(o).get("selector"))]
    return [cells.name(o), *(str(c) for c in counts), cells.age(o, now)], wide


_spec = workload_spec("apps.v1.ReplicaSetSpec", replicas=count)
DEFINITION = Definition(
    check=whole(REPLICA_SET, dns_subdomain, _spec),
    created=workload.one_replica,
    merge=workload.keep_replicas,
    annotations=("deployment.kubernetes.io/",),
    warnings=workload.warnings,
    fields=workload.workload_fields("minReadySeconds replicas"),
    columns=Columns(("NAME", "DESIRED", "CURRENT", "READY", "AGE"), workload.WIDE, _cells),
    describe=workload.description(),
    selectable={"status.replicas": field("status.replicas", "0")},
)
