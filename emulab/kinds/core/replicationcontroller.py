"""ReplicationControllers: what ReplicaSets were before, with a plain mapping of labels for a selector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.apps import workload
from emulab.kinds.apps.workload import TEMPLATE, runs_for_good, template_cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import REPLICATION_CONTROLLER
from emulab.model.checks import Problems, count, dns_subdomain, label_map, wrong
from emulab.model.selectors import matches_labels

if TYPE_CHECKING:
    from emulab.model.objects import Object


def _template_labels(spec: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = (spec["template"].get("metadata") or {}).get("labels") or {}
    return labels


def _selects_its_pods(spec: dict[str, Any]) -> Problems:
    labels = _template_labels(spec)
    selector = spec.get("selector") or labels
    if not selector:
        return wrong("is required", "selector")
    if matches_labels(selector, labels):
        return ()
    return wrong("`selector` does not match template `labels`", "template", "metadata", "labels")


_spec = typed(
    "core.v1.ReplicationControllerSpec",
    {"minReadySeconds": count, "replicas": count, "selector": label_map, "template": TEMPLATE},
    required=("template",),
    rules=(_selects_its_pods, runs_for_good),
)


def _created(o: Object) -> Object:
    """With its template's labels, where it has none, and for a selector (`SetDefaults_ReplicationController`)."""
    labels = dict(_template_labels(o.spec))
    spec = {**workload.with_replicas(o.spec), "selector": o.spec.get("selector") or labels}
    o = o.replace(spec=spec)
    return o if o.labels else o.replace(metadata={**o.metadata, "labels": labels})


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    """Unlike a ReplicaSet's, its selector can be changed."""
    spec.setdefault("selector", dict(_template_labels(spec)))
    return workload.with_replicas(spec, old.spec.get("replicas"))


def _cells(o: Raw, now: float) -> Cells:
    counts = [
        cells.number(cells.spec(o), "replicas", 1),
        cells.number(cells.status(o), "replicas"),
        cells.number(cells.status(o), "readyReplicas"),
    ]
    wide = [*template_cells(o), cells.labels(cells.spec(o).get("selector"))]
    return [cells.name(o), *(str(c) for c in counts), cells.age(o, now)], wide


DEFINITION = Definition(
    check=whole(REPLICATION_CONTROLLER, dns_subdomain, _spec),
    created=_created,
    merge=_merge,
    warnings=workload.warnings,
    fields=workload.workload_fields("minReadySeconds replicas"),
    columns=Columns(("NAME", "DESIRED", "CURRENT", "READY", "AGE"), workload.WIDE, _cells),
    describe=workload.description(),
)
