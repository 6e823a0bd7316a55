"""HorizontalPodAutoscalers (`validateHorizontalPodAutoscalerSpec`): kept, as nobody measures what they go by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import metadata_of
from emulab.kinds.definition import ASIDE, Definition
from emulab.kinds.kind import WORKLOAD
from emulab.kinds.openapi.typed import quantity, typed
from emulab.kinds.registry import HORIZONTAL_POD_AUTOSCALER, KINDS
from emulab.model.checks import (
    Check,
    Problems,
    dns_subdomain,
    integer,
    one_of,
    pattern,
    sequence,
    show,
    wrong,
)
from emulab.model.findings import Finding
from emulab.model.keys import group_kind

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_SHOWN = 2
"""Metrics that the table has room for (`formatHPAMetrics`)."""
_UNKNOWN = "<unknown>"
_VERSION = "autoscaling/v2"
_AVERAGES = ("averageUtilization", "averageValue")
_SOURCES: Mapping[str, tuple[str, Sequence[str]]] = {
    "Resource": ("resource", _AVERAGES),
    "ContainerResource": ("containerResource", _AVERAGES),
    "Pods": ("pods", ("averageValue",)),
    "Object": ("object", ("value", "averageValue")),
    "External": ("external", ("value", "averageValue")),
}
"""By the type of a metric the field that has its source, and the fields of its target, of which one says what for."""
_BOTH = ("Object",)
"""Types whose target may have both fields (`validateObjectSource`)."""
_DEFAULT = 80
"""The share of the processor that an API server fills in where there are no metrics (`DefaultCPUUtilization`)."""


def _bounds(spec: dict[str, Any]) -> Problems:
    least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
    if least == 0 and not any(
        metric["type"] in ("Object", "External") for metric in spec.get("metrics") or ()
    ):
        return wrong(
            "must specify at least one Object or External metric to support scaling to zero replicas"
        )
    if most < least:
        return wrong("must be greater than or equal to `minReplicas`", "maxReplicas")
    return ()


def _has_source(metric: dict[str, Any]) -> Problems:
    own, targets = _SOURCES[metric["type"]]
    others = [field for field, _ in _SOURCES.values() if field in metric and field != own]
    if others:
        return wrong(f"may not be given when type is {metric['type']}", others[0])
    if own not in metric:
        return wrong(f"is required when type is {metric['type']}", own)
    given = sum(field in metric[own]["target"] for field in targets)
    if not given or (given > 1 and metric["type"] not in _BOTH):
        return wrong(f"needs one of {' and '.join(targets)}", own, "target")
    return ()


def _positive(value: Any) -> Problems:
    """A quantity of more than nothing, which is seen by its digits: with an exponent it may be any size."""
    if problems := quantity(value):
        return problems
    text = str(value)
    digits = re.match(r"\+?[0-9.]+", text)
    if digits is None or not re.search("[1-9]", digits[0]):
        return wrong(f"{show(value)} is not more than 0")
    return ()


_segment = pattern(r"(?!\.\.?$)[^/%]+", "a name without '/' and '%'")
_reference = typed("autoscaling.v2.CrossVersionObjectReference", dict.fromkeys(("kind", "name"), _segment))
_goal = typed(
    "autoscaling.v2.MetricTarget",
    {
        "type": one_of("Utilization", "Value", "AverageValue"),
        "averageUtilization": integer(1),
        **dict.fromkeys(("value", "averageValue"), _positive),
    },
)
_named = typed("autoscaling.v2.MetricIdentifier", {"name": _segment})
_sources = {
    "resource": typed("autoscaling.v2.ResourceMetricSource", {"target": _goal}),
    "containerResource": typed("autoscaling.v2.ContainerResourceMetricSource", {"target": _goal}),
    "pods": typed("autoscaling.v2.PodsMetricSource", {"target": _goal, "metric": _named}),
    "external": typed("autoscaling.v2.ExternalMetricSource", {"target": _goal, "metric": _named}),
    "object": typed(
        "autoscaling.v2.ObjectMetricSource",
        {"target": _goal, "metric": _named, "describedObject": _reference},
    ),
}
_replicas = {"minReplicas": integer(0), "maxReplicas": integer(1), "scaleTargetRef": _reference}
_metric = typed("autoscaling.v2.MetricSpec", {"type": one_of(*_SOURCES), **_sources}, rules=(_has_source,))
_policy = typed(
    "autoscaling.v2.HPAScalingPolicy",
    {"type": one_of("Pods", "Percent"), "value": integer(1), "periodSeconds": integer(1, 1800)},
)
_scaling = typed(
    "autoscaling.v2.HPAScalingRules",
    {
        "stabilizationWindowSeconds": integer(0, 3600),
        "selectPolicy": one_of("Max", "Min", "Disabled"),
        "policies": sequence(_policy, least=1),
    },
)
_behavior = typed(
    "autoscaling.v2.HorizontalPodAutoscalerBehavior", dict.fromkeys(("scaleUp", "scaleDown"), _scaling)
)
_newer = typed(
    "autoscaling.v2.HorizontalPodAutoscalerSpec",
    {**_replicas, "metrics": sequence(_metric), "behavior": _behavior},
    rules=(_bounds,),
)
_older = typed(
    "autoscaling.v1.HorizontalPodAutoscalerSpec",
    {**_replicas, "targetCPUUtilizationPercentage": integer(1)},
    rules=(_bounds,),
)


def _whole(structure: str, spec: Check) -> Check:
    own = {"metadata": metadata_of(HORIZONTAL_POD_AUTOSCALER, dns_subdomain), "spec": spec}
    return typed(structure, own, required=("metadata", "spec"))


_v2, _v1 = (
    _whole(structure, spec)
    for structure, spec in zip(HORIZONTAL_POD_AUTOSCALER.structures, (_newer, _older), strict=True)
)


def _check(raw: dict[str, Any]) -> Problems:
    return (_v2 if raw["apiVersion"] == _VERSION else _v1)(raw)


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    target = o.spec.get("scaleTargetRef")
    kind = KINDS.get(group_kind(target.get("apiVersion", ""), target["kind"])) if target else None
    if (
        target
        and kind
        and WORKLOAD in kind.categories
        and not world.has(kind.key(o.namespace, target["name"]))
    ):
        what = f"there is no {kind.kind} {o.namespace}/{target['name']}"
        yield Finding(o, ("spec", "scaleTargetRef", "name"), what)
    if o.spec.get("minReplicas") == 0:
        what = "0 is refused by an API server whose feature gate HPAScaleToZero isn't on, which it isn't by itself"
        yield Finding(o, ("spec", "minReplicas"), what)


def _cells(o: Raw, now: float) -> Cells:
    spec = cells.spec(o)
    target = spec.get("scaleTargetRef") or {}
    return [
        cells.name(o),
        f"{target.get('kind')}/{target.get('name')}",
        _targets(spec),
        str(spec.get("minReplicas", 1)),
        str(spec.get("maxReplicas")),
        _UNKNOWN,
        cells.age(o, now),
    ], []


def _targets(spec: Raw) -> str:
    """What it would go by, of which nobody knows how much there is."""
    if share := spec.get("targetCPUUtilizationPercentage"):
        return f"cpu: {_UNKNOWN}/{share}%"
    metrics = [_target(metric) for metric in spec.get("metrics") or ()]
    more = f" + {len(metrics) - _SHOWN} more..." if len(metrics) > _SHOWN else ""
    return ", ".join(metrics[:_SHOWN]) + more or f"cpu: {_UNKNOWN}/{_DEFAULT}%"


def _target(metric: Raw) -> str:
    source = metric[_SOURCES[metric["type"]][0]]
    target = source["target"]
    if "Resource" in metric["type"]:
        share = target.get("averageUtilization")
        return f"{source['name']}: {_UNKNOWN}/{target.get('averageValue') or f'{share}%'}"
    average = f"{target.get('averageValue')}{'' if metric['type'] == 'Pods' else ' (avg)'}"
    return f"{_UNKNOWN}/{average if 'averageValue' in target else target.get('value')}"


DEFINITION = Definition(
    check=_check,
    standing=ASIDE,
    warnings=_warnings,
    columns=Columns(("NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"), (), _cells),
)
