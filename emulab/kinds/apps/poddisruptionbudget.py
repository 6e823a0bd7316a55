"""PodDisruptionBudgets (`ValidatePodDisruptionBudgetSpec`): how many Pods evictions leave; none is evicted here."""

from __future__ import annotations

from typing import Any

from emulab.kinds import cells
from emulab.kinds.apps.workload import number_or_part
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import label_selector, whole
from emulab.kinds.definition import ASIDE, Definition
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import POD_DISRUPTION_BUDGET
from emulab.model.checks import Problems, dns_subdomain, one_of, wrong

_UNKNOWN = "<unknown>"
"""What the disruption controller would say: there is none."""


def _not_both(spec: dict[str, Any]) -> Problems:
    if "minAvailable" in spec and "maxUnavailable" in spec:
        return wrong("minAvailable and maxUnavailable cannot be both set")
    return ()


def _cells(o: Raw, now: float) -> Cells:
    spec = cells.spec(o)
    bounds = [str(spec.get(field, "N/A")) for field in ("minAvailable", "maxUnavailable")]
    return [cells.name(o), *bounds, _UNKNOWN, cells.age(o, now)], []


_spec = typed(
    "policy.v1.PodDisruptionBudgetSpec",
    {
        "minAvailable": number_or_part,
        "maxUnavailable": number_or_part,
        "selector": label_selector,
        "unhealthyPodEvictionPolicy": one_of("IfHealthyBudget", "AlwaysAllow"),
    },
    rules=(_not_both,),
)
DEFINITION = Definition(
    check=whole(POD_DISRUPTION_BUDGET, dns_subdomain, _spec, optional_spec=True),
    standing=ASIDE,
    columns=Columns(("NAME", "MIN AVAILABLE", "MAX UNAVAILABLE", "ALLOWED DISRUPTIONS", "AGE"), (), _cells),
)
