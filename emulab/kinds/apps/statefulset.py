"""StatefulSets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.apps import defaults, rolloutstatus, workload
from emulab.kinds.apps.rollouts import OF_STATEFUL_SETS
from emulab.kinds.apps.workload import template_cells, workload_spec
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import object_meta, whole
from emulab.kinds.core.claimschema import claim_spec
from emulab.kinds.core.volumeschema import mounts_of_nothing
from emulab.kinds.definition import Definition
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import STATEFUL_SET
from emulab.model.checks import Problems, at, count, dns_label, dns_subdomain, one_of, sequence

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.findings import Finding
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


def _mounts_are_there(spec: dict[str, Any]) -> Problems:
    claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates") or ()]
    return at("template", at("spec", mounts_of_nothing(spec["template"]["spec"], claims)))


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    yield from workload.warnings(o, world)
    templates = o.spec.get("volumeClaimTemplates") or ()
    if templates:
        from emulab.kinds.storage import vendorclasses  # of who has claims alone

        specs = [(("spec", "volumeClaimTemplates", i, "spec"), t["spec"]) for i, t in enumerate(templates)]
        yield from vendorclasses.oddities(o, specs, world)


_kept = one_of("Retain", "Delete")
_spec = workload_spec(
    "apps.v1.StatefulSetSpec",
    OF_STATEFUL_SETS,
    rules=(_mounts_are_there,),
    template=workload.TEMPLATE_WITH_CLAIMS,
    replicas=count,
    podManagementPolicy=one_of("OrderedReady", "Parallel"),
    ordinals=typed("apps.v1.StatefulSetOrdinals", {"start": count}),
    volumeClaimTemplates=sequence(
        typed(
            "core.v1.PersistentVolumeClaim",
            {"metadata": object_meta(("name",), name=dns_subdomain), "spec": claim_spec},
            required=("metadata", "spec"),
        )
    ),
    persistentVolumeClaimRetentionPolicy=typed(
        "apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy", {"whenDeleted": _kept, "whenScaled": _kept}
    ),
)
DEFINITION = Definition(
    check=whole(STATEFUL_SET, dns_label, _spec),
    written=defaults.written(defaults.statefulset),
    created=workload.one_replica,
    merge=_merge,
    warnings=_warnings,
    fields=workload.workload_fields(
        "minReadySeconds ordinals persistentVolumeClaimRetentionPolicy podManagementPolicy replicas"
        " revisionHistoryLimit serviceName updateStrategy.rollingUpdate.partition updateStrategy.type"
        " volumeClaimTemplates",
        ignored={
            "updateStrategy.rollingUpdate.maxUnavailable": "one Pod is replaced after the other",
        },
    ),
    columns=Columns(("NAME", "READY", "AGE"), workload.WIDE[:2], _cells),
    describe=workload.description(OF_STATEFUL_SETS),
    rollout=rolloutstatus.of_statefulset,
)
