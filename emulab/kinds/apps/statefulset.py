"""StatefulSets."""

from __future__ import annotations

from emulab.kinds import cells
from emulab.kinds.apps import workload
from emulab.kinds.apps.rollouts import OF_SETS
from emulab.kinds.apps.workload import template_cells, workload_spec
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.registry import STATEFUL_SET
from emulab.model.checks import anything, count, dns_label, mapping, one_of, sequence, string


def _cells(o: Raw, now: float) -> Cells:
    ready = f"{cells.number(cells.status(o), 'readyReplicas')}/{cells.number(cells.spec(o), 'replicas', 1)}"
    return [cells.name(o), ready, cells.age(o, now)], template_cells(o)


_spec = workload_spec(
    OF_SETS,
    serviceName=string,
    podManagementPolicy=one_of("OrderedReady", "Parallel"),
    ordinals=mapping({"start": count}),
    volumeClaimTemplates=sequence(anything),
)
DEFINITION = Definition(
    check=whole(STATEFUL_SET, dns_label, _spec),
    merge=workload.keep_replicas,
    warnings=workload.warnings,
    columns=Columns(("NAME", "READY", "AGE"), workload.WIDE[:2], _cells),
    describe=workload.description(OF_SETS),
)
