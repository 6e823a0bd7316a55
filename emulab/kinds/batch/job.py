"""Jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.errors import UserError
from emulab.kinds import cells
from emulab.kinds.ages import seconds_of, short
from emulab.kinds.apps.workload import WIDE, template_cells, template_fields
from emulab.kinds.batch.generated import generated, with_defaults
from emulab.kinds.batch.jobspec import INDEXED, fits_its_pods, job_spec
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.core.podfields import TEMPLATE_FIELDS
from emulab.kinds.core.pododdities import doing_nothing, oddities
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices, conditions
from emulab.kinds.following import FollowedFields, kind_table, table
from emulab.kinds.registry import JOB
from emulab.kinds.selectable import field
from emulab.model.checks import Problems, dns_subdomain, wrong
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

JOB_FIELDS: FollowedFields = table(
    "activeDeadlineSeconds backoffLimit backoffLimitPerIndex completionMode completions manualSelector"
    " maxFailedIndexes parallelism podFailurePolicy podReplacementPolicy selector successPolicy suspend"
    " ttlSecondsAfterFinished",
    ignored={"managedBy": "there is no other controller of Jobs than emulab's"},
    template=TEMPLATE_FIELDS,
)

_FIXED = (
    *("backoffLimitPerIndex", "completionMode", "managedBy", "podFailurePolicy", "selector"),
    *("successPolicy", "template"),
)
"""What can't be changed (`ValidateJobSpecUpdate`), beside `completions`."""


def _has_its_own_selector(raw: dict[str, Any]) -> Problems:
    """What was saved from a cluster has one of there; it gets another here (`emulab.cluster.admission.dumps`)."""
    spec = raw["spec"]
    if spec.get("selector") and not spec.get("manualSelector") and "uid" not in raw["metadata"]:
        return wrong("`selector` not auto-generated", "spec", "selector")
    return ()


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    """Raises UserError for what can't be changed."""
    spec = with_defaults(spec, old.name, str(old.metadata["uid"]))
    changed = [field for field in _FIXED if spec.get(field) != old.spec.get(field)]
    if spec.get("completions") != old.spec.get("completions") and not _resizes(old.spec, spec):
        changed.append("completions")
    if changed:
        raise UserError(
            f"{new.position}: {new.key} spec.{changed[0]}: can't be changed; delete the {new.kind} first"
        )
    return spec


def _resizes(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether completions of an elastic Indexed Job go with its parallelism (KEP-3715)."""
    elastic = all(s.get("completions") == s.get("parallelism") for s in (old, new))
    return elastic and new.get("completionMode") == INDEXED


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    yield from oddities(o, ("spec", "template"), o.spec["template"], world, ends=True)


def _notes(o: Object) -> Iterator[Finding]:
    return doing_nothing(o, ("spec", "template"), o.spec["template"])


# How they are printed

_STATUS = (("Complete", "Complete"), ("Failed", "Failed"))
_UNFINISHED = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def job_status(o: Raw) -> str:
    """The column STATUS."""
    there = {c["type"] for c in cells.status(o).get("conditions") or () if c.get("status") == "True"}
    for kind, word in _STATUS:
        if kind in there:
            return word
    if o["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((kind for kind in _UNFINISHED if kind in there), "Running")


def _completions(o: Raw) -> str:
    spec, done = cells.spec(o), cells.number(cells.status(o), "succeeded")
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallelism = cells.number(spec, "parallelism")
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def duration(o: Raw, now: float) -> str:
    """How long it took, or takes until now; "" before it begins."""
    begun = seconds_of(cells.status(o).get("startTime"))
    ended = seconds_of(cells.status(o).get("completionTime"))
    return "" if begun is None else short((now if ended is None else ended) - begun)


def _cells(o: Raw, now: float) -> Cells:
    wide = [*template_cells(o), cells.selector_text(cells.spec(o).get("selector"))]
    return [cells.name(o), job_status(o), _completions(o), duration(o, now), cells.age(o, now)], wide


def _describe(o: Raw, _: Slices) -> Fields:
    spec, status = cells.spec(o), cells.status(o)
    fields: Fields = [
        ("Selector", cells.selector_text(spec.get("selector"))),
        ("Parallelism", str(spec.get("parallelism", NONE))),
        ("Completions", str(spec.get("completions", "<unset>"))),
        ("Completion Mode", str(spec.get("completionMode", NONE))),
        ("Suspend", str(bool(spec.get("suspend"))).lower()),
        ("Backoff Limit", str(spec.get("backoffLimit", NONE))),
    ]
    optional = {
        "TTL Seconds After Finished": spec.get("ttlSecondsAfterFinished"),
        "Start Time": status.get("startTime"),
        "Completed At": status.get("completionTime"),
        "Duration": duration(o, time.time()) if status.get("completionTime") else None,
        "Active Deadline Seconds": spec.get("activeDeadlineSeconds"),
    }
    fields += [(label, str(value)) for label, value in optional.items() if value is not None]
    active, ready, succeeded, failed = (
        cells.number(status, field) for field in ("active", "ready", "succeeded", "failed")
    )
    counts = f"{active} Active ({ready} Ready) / {succeeded} Succeeded / {failed} Failed"
    fields.append(("Pods Statuses", counts))
    for label, name in (("Completed Indexes", "completedIndexes"), ("Failed Indexes", "failedIndexes")):
        if spec.get("completionMode") == INDEXED and (name in status or name == "completedIndexes"):
            fields.append((label, str(status.get(name) or NONE)))
    return [*fields, ("Pod Template", template_fields(spec.get("template") or {})), *conditions(o)]


DEFINITION = Definition(
    check=whole(JOB, dns_subdomain, job_spec, rules=(_has_its_own_selector, fits_its_pods)),
    created=generated,
    merge=_merge,
    warnings=_warnings,
    notes=_notes,
    fields=kind_table(spec=JOB_FIELDS),
    columns=Columns(("NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"), WIDE, _cells),
    describe=_describe,
    selectable={"status.successful": field("status.succeeded", "0")},
)
