"""HorizontalPodAutoscalers and PodDisruptionBudgets: what the API server refuses of them, and their tables."""

from __future__ import annotations

from typing import Any

import pytest
from lab_objects import obj
from manifest_texts import accepted, described, problems, stream

from emulab.cluster.admission.crosscheck import warnings
from emulab.kinds.registry import HORIZONTAL_POD_AUTOSCALER, POD_DISRUPTION_BUDGET
from emulab.model.collection import Objects

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
CPU: dict[str, Any] = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}
QUEUE: dict[str, Any] = {
    "type": "External",
    "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "30"}},
}
OBJECT: dict[str, Any] = {
    "type": "Object",
    "object": {
        "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "web"},
        "metric": {"name": "rps"},
        "target": {"type": "Value", "value": "10", "averageValue": "5"},
    },
}
PER_POD: dict[str, Any] = {
    "type": "Pods",
    "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1k"}},
}


def autoscaler(**spec: Any) -> dict[str, Any]:
    given = described("HorizontalPodAutoscaler", {"scaleTargetRef": TARGET, "maxReplicas": 5, **spec}, "web")
    return {**given, "apiVersion": "autoscaling/v2"}


def cpu(kind: str = "Utilization", **target: Any) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": "cpu", "target": {"type": kind, **target}}}


def queue(name: str, **target: Any) -> dict[str, Any]:
    asked = {"metric": {"name": name}, "target": {"type": "Value", **(target or {"value": 1})}}
    return {"type": "External", "external": asked}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"minReplicas": 6}, "spec.maxReplicas: must be greater than or equal to `minReplicas`"),
        ({"minReplicas": 0}, "spec: must specify at least one Object or External metric to support scaling"),
        ({"maxReplicas": 0}, "spec.maxReplicas: 0 is not a number of 1 or more"),
        ({"metrics": [{"type": "CPU"}]}, 'spec.metrics[0].type: "CPU" is not one of Resource'),
        ({"metrics": [{"type": "Resource"}]}, "spec.metrics[0].resource: is required when type is Resource"),
        ({"metrics": [{**CPU, **QUEUE}]}, "spec.metrics[0].resource: may not be given when type is External"),
        (
            {
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
                ]
            },
            "spec.metrics[0].resource.target: needs one of averageUtilization and averageValue",
        ),
        (
            {"metrics": [cpu(averageUtilization=0)]},
            "target.averageUtilization: 0 is not a number of 1 or more",
        ),
        ({"metrics": [cpu(averageValue="0m")]}, 'target.averageValue: "0m" is not more than 0'),
        ({"metrics": [cpu(averageValue=-1)]}, "target.averageValue: -1 is not more than 0"),
        (
            {"metrics": [cpu(averageValue="0e999999999")]},
            'target.averageValue: "0e999999999" is not more than 0',
        ),
        ({"metrics": [cpu("Much", averageValue=1)]}, 'target.type: "Much" is not one of Utilization, Value'),
        ({"metrics": [queue("a/b")]}, 'external.metric.name: "a/b" is not a name without'),
        ({"metrics": [queue("q", value=1, averageValue=1)]}, "target: needs one of value and averageValue"),
        (
            {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 3601}}},
            "stabilizationWindowSeconds: 3601 is not a number (0-3600)",
        ),
        ({"behavior": {"scaleUp": {"policies": []}}}, "scaleUp.policies: must not be empty"),
    ],
)
def test_autoscalers_that_are_refused(spec: dict[str, Any], why: str) -> None:
    (problem,) = problems(stream(autoscaler(**spec)))
    assert why in problem


def test_an_autoscaler_of_nobody_gets_a_warning() -> None:
    (o,) = accepted(autoscaler(metrics=[QUEUE]))
    at = "shop.yaml:1: HorizontalPodAutoscaler/web spec.scaleTargetRef.name"
    assert warnings([o], Objects([o])) == [f"{at}: there is no Deployment default/web"]
    assert warnings([o], Objects([o, obj("Deployment", "web")])) == []


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_autoscaler_says_of_what(version: str) -> None:
    given = {**autoscaler(), "apiVersion": f"autoscaling/{version}"}
    del given["spec"]
    (problem,) = problems(stream(given))
    assert "spec: is required" in problem


def test_no_replicas_need_a_feature_gate() -> None:
    (o,) = accepted(autoscaler(minReplicas=0, metrics=[QUEUE]))
    (line,) = warnings([o], Objects([o, obj("Deployment", "web")]))
    assert (
        "spec.minReplicas: 0 is refused by an API server whose feature gate HPAScaleToZero isn't on" in line
    )


@pytest.mark.parametrize(
    ("spec", "version", "targets"),
    [
        ({"metrics": [CPU]}, "v2", "cpu: <unknown>/80%"),
        (
            {"metrics": [CPU, QUEUE, PER_POD]},
            "v2",
            "cpu: <unknown>/80%, <unknown>/30 (avg) + 1 more...",
        ),
        ({"metrics": [PER_POD]}, "v2", "<unknown>/1k"),
        ({"targetCPUUtilizationPercentage": 50}, "v1", "cpu: <unknown>/50%"),
        ({"metrics": [OBJECT]}, "v2", "<unknown>/5 (avg)"),
        ({}, "v2", "cpu: <unknown>/80%"),
        ({}, "v1", "cpu: <unknown>/80%"),
    ],
)
def test_the_table_of_autoscalers(spec: dict[str, Any], version: str, targets: str) -> None:
    (o,) = accepted({**autoscaler(**spec), "apiVersion": f"autoscaling/{version}"})
    columns = HORIZONTAL_POD_AUTOSCALER.definition.columns
    assert columns.narrow == ("NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE")
    cells, _ = columns.cells(o.raw, 0.0)
    assert cells[:6] == ["web", "Deployment/web", targets, "1", "5", "<unknown>"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (
            {"minAvailable": 1, "maxUnavailable": 1},
            "spec: minAvailable and maxUnavailable cannot be both set",
        ),
        ({"minAvailable": "101%"}, 'spec.minAvailable: "101%" must not be greater than 100%'),
        (
            {"maxUnavailable": "half"},
            'spec.maxUnavailable: "half" is not a number of 0 or more, or a percentage',
        ),
        ({"unhealthyPodEvictionPolicy": "Never"}, '"Never" is not one of IfHealthyBudget, AlwaysAllow'),
    ],
)
def test_budgets_that_are_refused(spec: dict[str, Any], why: str) -> None:
    (problem,) = problems(stream(described("PodDisruptionBudget", spec)))
    assert why in problem


def test_the_table_of_budgets() -> None:
    (o,) = accepted(described("PodDisruptionBudget", {"maxUnavailable": "25%"}, "web"))
    cells, _ = POD_DISRUPTION_BUDGET.definition.columns.cells(o.raw, 0.0)
    assert cells[:4] == ["web", "N/A", "25%", "<unknown>"]
