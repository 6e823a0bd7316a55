"""DaemonSets."""

from __future__ import annotations

from typing import Any

from emulab.kinds import cells
from emulab.kinds.apps import defaults, rolloutstatus, workload
from emulab.kinds.apps.rollouts import OF_SETS
from emulab.kinds.apps.workload import template_cells, workload_spec
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.registry import DAEMON_SET
from emulab.model.checks import dns_subdomain

_DAEMON_COUNTS = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
)

_DAEMONS = ("DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE SELECTOR")


def _cells(o: Raw, now: float) -> Cells:
    counts = [str(cells.number(cells.status(o), field)) for field in _DAEMON_COUNTS]
    template = (cells.spec(o).get("template") or {}).get("spec") or {}
    wide = [*template_cells(o), cells.selector_text(cells.spec(o).get("selector"))]
    return [cells.name(o), *counts, cells.labels(template.get("nodeSelector")), cells.age(o, now)], wide


def _wanted(o: Raw) -> Any:
    return cells.status(o).get("desiredNumberScheduled", 0)


_spec = workload_spec("apps.v1.DaemonSetSpec", OF_SETS)
DEFINITION = Definition(
    check=whole(DAEMON_SET, dns_subdomain, _spec),
    written=defaults.written(defaults.daemonset),
    merge=workload.keep_selector,
    warnings=workload.warnings,
    fields=workload.workload_fields(
        "minReadySeconds revisionHistoryLimit updateStrategy.rollingUpdate.maxUnavailable updateStrategy.type",
        ignored={"updateStrategy.rollingUpdate.maxSurge": "a Pod goes before the next one comes"},
    ),
    columns=Columns(("NAME", *_DAEMONS, "AGE"), workload.WIDE, _cells),
    describe=workload.description(OF_SETS, _wanted),
    rollout=rolloutstatus.of_daemonset,
)
