"""CronJobs: what they may say, as batch/v1 validates it, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.ages import age
from emulab.kinds.apps.workload import WIDE, template_cells, template_fields
from emulab.kinds.batch import schedule
from emulab.kinds.batch.job import JOB_FIELDS
from emulab.kinds.batch.jobspec import template_spec
from emulab.kinds.cells import NONE, Cells, Columns, Raw
from emulab.kinds.checks import object_meta, whole
from emulab.kinds.core.pododdities import doing_nothing, oddities
from emulab.kinds.definition import Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.following import METADATA, kind_table, table
from emulab.kinds.openapi.typed import typed
from emulab.kinds.registry import CRON_JOB
from emulab.model.checks import Problems, boolean, count, dns_subdomain, integer, one_of, show, wrong
from emulab.model.findings import Finding
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

ALLOW, FORBID, REPLACE = "Allow", "Forbid", "Replace"
SUCCESSFUL, FAILED = 3, 1
"""How many Jobs that are over are kept, where nothing is said of it (pkg/apis/batch/v1/defaults.go)."""
_LONGEST_NAME = 52  # "-" and ten figures come behind it
_TEMPLATE: FieldPath = ("spec", "jobTemplate", "spec", "template")


def _can_be_read(spec: dict[str, Any]) -> Problems:
    text, zone = spec["schedule"], spec.get("timeZone")
    if not text:
        return wrong("is required", "schedule")
    if "TZ" in text:
        what = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return wrong(f"{show(text)}: {what}", "schedule")
    if zone is not None and not zone:
        return wrong("must be nil or non-empty string", "timeZone")
    if zone is not None and zone.lower() == "local":
        return wrong(
            f"{show(zone)}: timeZone must be an explicit time zone as defined in tz database", "timeZone"
        )
    try:
        schedule.parse(text, zone or "")
    except schedule.UnknownTimeZone as error:
        return wrong(str(error), "timeZone")
    except ValueError as error:
        return wrong(f"{show(text)}: {error}", "schedule")
    return ()


def _leaves_room_for_times(raw: dict[str, Any]) -> Problems:
    if len(raw["metadata"]["name"]) <= _LONGEST_NAME:
        return ()
    return wrong(f"must be no more than {_LONGEST_NAME} characters", "metadata", "name")


_spec = typed(
    "batch.v1.CronJobSpec",
    {
        "concurrencyPolicy": one_of(ALLOW, FORBID, REPLACE),
        "failedJobsHistoryLimit": count,
        "jobTemplate": typed(
            "batch.v1.JobTemplateSpec", {"metadata": object_meta(), "spec": template_spec}, required=("spec",)
        ),
        "startingDeadlineSeconds": integer(0, (1 << 63) - 1),
        "successfulJobsHistoryLimit": count,
        "suspend": boolean,
    },
    rules=(_can_be_read,),
)


def with_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with what its manifest doesn't say."""
    return {
        "concurrencyPolicy": ALLOW,
        "failedJobsHistoryLimit": FAILED,
        "successfulJobsHistoryLimit": SUCCESSFUL,
        "suspend": False,
        **{field: value for field, value in spec.items() if value is not None},
    }


def _created(o: Object) -> Object:
    return o.replace(spec=with_defaults(o.spec))


def _merge(_old: Object, _new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    return with_defaults(spec)


def _pods(o: Object) -> Mapping[str, Any]:
    template: Mapping[str, Any] = o.spec["jobTemplate"]["spec"]["template"]
    return template


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    yield from oddities(o, _TEMPLATE, _pods(o), world, ends=True)


def _notes(o: Object) -> Iterator[Finding]:
    return doing_nothing(o, _TEMPLATE, _pods(o))


# How they are printed


def _since(o: Raw, field: str, now: float) -> str:
    stamp = cells.status(o).get(field)
    return age(stamp, now) if stamp else NONE


def _cells(o: Raw, now: float) -> Cells:
    spec = cells.spec(o)
    job = {"spec": (spec.get("jobTemplate") or {}).get("spec") or {}}
    narrow = [
        *(cells.name(o), str(spec.get("schedule") or ""), str(spec.get("timeZone") or NONE)),
        *(str(bool(spec.get("suspend"))), str(len(cells.status(o).get("active") or ()))),
        *(_since(o, "lastScheduleTime", now), cells.age(o, now)),
    ]
    return narrow, [*template_cells(job), cells.selector_text(job["spec"].get("selector"))]


def _describe(o: Raw, _: Slices) -> Fields:
    spec, status = cells.spec(o), cells.status(o)
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    deadline = spec.get("startingDeadlineSeconds")
    fields: Fields = [
        ("Schedule", str(spec.get("schedule"))),
        ("Time Zone", str(spec.get("timeZone") or "<unset>")),
        ("Concurrency Policy", str(spec.get("concurrencyPolicy") or ALLOW)),
        ("Suspend", str(bool(spec.get("suspend")))),
        ("Successful Job History Limit", str(spec.get("successfulJobsHistoryLimit", SUCCESSFUL))),
        ("Failed Job History Limit", str(spec.get("failedJobsHistoryLimit", FAILED))),
        ("Starting Deadline Seconds", "<unset>" if deadline is None else f"{deadline}s"),
        ("Parallelism", str(job.get("parallelism", "<unset>"))),
        ("Completions", str(job.get("completions", "<unset>"))),
        ("Pod Template", template_fields(job.get("template") or {})),
        ("Last Schedule Time", str(status.get("lastScheduleTime") or "<unset>")),
        ("Active Jobs", [str(job["name"]) for job in status.get("active") or ()] or NONE),
    ]
    return fields


DEFINITION = Definition(
    check=whole(CRON_JOB, dns_subdomain, _spec, rules=(_leaves_room_for_times,)),
    created=_created,
    merge=_merge,
    warnings=_warnings,
    notes=_notes,
    fields=kind_table(
        spec=table(
            "concurrencyPolicy failedJobsHistoryLimit schedule startingDeadlineSeconds"
            " successfulJobsHistoryLimit suspend timeZone",
            jobTemplate=table(metadata=METADATA, spec=JOB_FIELDS),
        )
    ),
    columns=Columns(
        ("NAME", "SCHEDULE", "TIMEZONE", "SUSPEND", "ACTIVE", "LAST SCHEDULE", "AGE"), WIDE, _cells
    ),
    describe=_describe,
)
