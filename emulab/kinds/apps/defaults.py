"""What an API server writes into a workload that doesn't say it (pkg/apis/apps/v1/defaults.go).

How many replicas there are isn't said here: it may be what was asked for last (`workload.keep_replicas`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulab.model.objects import Object

ROLLING = "RollingUpdate"
_KEPT = 10
"""Old revisions that stay to be gone back to."""


def written(defaults: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[[Object], Object]:
    """A kind's `Definition.written`."""
    return lambda o: o.replace(spec=defaults(o.spec))


def deployment(spec: Mapping[str, Any]) -> dict[str, Any]:
    made = {"progressDeadlineSeconds": 600, "revisionHistoryLimit": _KEPT, **_said(spec)}
    return {**made, "strategy": _strategy(made, "strategy", {"maxSurge": "25%", "maxUnavailable": "25%"})}


def daemonset(spec: Mapping[str, Any]) -> dict[str, Any]:
    made = {"revisionHistoryLimit": _KEPT, **_said(spec)}
    return {**made, "updateStrategy": _strategy(made, "updateStrategy", {"maxSurge": 0, "maxUnavailable": 1})}


def statefulset(spec: Mapping[str, Any]) -> dict[str, Any]:
    made = {"podManagementPolicy": "OrderedReady", "revisionHistoryLimit": _KEPT, **_said(spec)}
    claims = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    return {
        **made,
        "persistentVolumeClaimRetentionPolicy": claims
        | _said(made.get("persistentVolumeClaimRetentionPolicy") or {}),
        "updateStrategy": _strategy(made, "updateStrategy", {"partition": 0}),
    }


def _strategy(spec: Mapping[str, Any], field: str, rolling: Mapping[str, Any]) -> dict[str, Any]:
    made = {"type": ROLLING, **_said(spec.get(field) or {})}
    if made["type"] == ROLLING:
        made["rollingUpdate"] = {**rolling, **_said(made.get("rollingUpdate") or {})}
    return made


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if value is not None}
