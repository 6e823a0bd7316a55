"""Events, which components write of what happened (`emulab.cluster.events`)."""

from __future__ import annotations

from typing import Any

from emulab.kinds import ages, cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import ASIDE, Definition
from emulab.kinds.fields import Fields, Slices
from emulab.kinds.registry import EVENT
from emulab.kinds.selectable import field, fields
from emulab.model.checks import dns_subdomain, integer, one_of

_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _object(o: Raw) -> str:
    about = o.get("involvedObject") or {}
    kind, name = str(about.get("kind", "")).lower(), str(about.get("name", ""))
    return f"{kind}/{name}" if name else kind


def _source(o: Raw) -> str:
    source = o.get("source") or {}
    return ", ".join(str(source[part]) for part in ("component", "host") if source.get(part))


_STORED_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
"""What Events of events.k8s.io/v1 call otherwise (pkg/apis/events/v1/conversion.go)."""


def _stored(raw: Raw) -> dict[str, Any]:
    """An Event of events.k8s.io/v1 as one of v1."""
    named = {_STORED_NAMES.get(field, field): value for field, value in raw.items()}
    return {"involvedObject": {}, **named, "apiVersion": EVENT.api_version}


def _first(o: Raw) -> Any:
    return o.get("firstTimestamp") or o.get("eventTime")


def _last(o: Raw) -> Any:
    return (o.get("series") or {}).get("lastObservedTime") or o.get("lastTimestamp") or _first(o)


def last_seen(o: Raw) -> str:
    """When it happened last, as RFC 3339, which sorts."""
    return str(_last(o) or o["metadata"].get("creationTimestamp") or "")


def _count(o: Raw) -> int:
    return int((o.get("series") or {}).get("count") or o.get("count") or 1)


def seen(o: Raw, now: float) -> str:
    """How long ago it happened, and how often in which time: `5s (x3 over 2m)`."""
    last = ages.age(last_seen(o), now)
    count = _count(o)
    return f"{last} (x{count} over {ages.age(_first(o), now)})" if count > 1 else last


def _cells(o: Raw, now: float) -> Cells:
    seen = ages.age(_last(o), now)
    words = (str(o.get(field, "")) for field in ("type", "reason"))
    where = str((o.get("involvedObject") or {}).get("fieldPath", ""))
    narrow = [seen, *words, _object(o), str(o.get("message", "")).strip()]
    return narrow, [where, _source(o), ages.age(_first(o), now), str(_count(o)), cells.name(o)]


def _describe(o: Raw, _: Slices) -> Fields:
    return [
        ("Involved Object", _object(o)),
        ("Type", str(o.get("type", ""))),
        ("Reason", str(o.get("reason", ""))),
        ("Message", str(o.get("message", ""))),
        ("Source", _source(o)),
        ("First Seen", str(_first(o) or "")),
        ("Last Seen", last_seen(o)),
        ("Count", str(_count(o))),
    ]


DEFINITION = Definition(
    check=whole(
        EVENT,
        dns_subdomain,
        fields={"type": one_of("Normal", "Warning"), "count": integer(0)},
    ),
    standing=ASIDE,
    stored=_stored,
    columns=Columns(
        ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"),
        ("SUBOBJECT", "SOURCE", "FIRST SEEN", "COUNT", "NAME"),
        _cells,
    ),
    describe=_describe,
    selectable={
        **fields(*(f"involvedObject.{part}" for part in _REFERENCE), "reason", "reportingComponent", "type"),
        "source": field("source.component"),
    },
)
