"""Events, which components write of what happened (`emulab.cluster.events`)."""

from __future__ import annotations

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


def last_seen(o: Raw) -> str:
    """When it happened last, as RFC 3339, which sorts."""
    return str(
        o.get("lastTimestamp") or o.get("firstTimestamp") or o["metadata"].get("creationTimestamp") or ""
    )


def seen(o: Raw, now: float) -> str:
    """How long ago it happened, and how often in which time: `5s (x3 over 2m)`."""
    last = ages.age(last_seen(o), now)
    count = int(o.get("count") or 1)
    return f"{last} (x{count} over {ages.age(o.get('firstTimestamp'), now)})" if count > 1 else last


def _cells(o: Raw, now: float) -> Cells:
    first = o.get("firstTimestamp")
    seen = ages.age(o.get("lastTimestamp") or first, now)
    words = (str(o.get(field, "")) for field in ("type", "reason"))
    where = str((o.get("involvedObject") or {}).get("fieldPath", ""))
    narrow = [seen, *words, _object(o), str(o.get("message", "")).strip()]
    return narrow, [where, _source(o), ages.age(first, now), str(o.get("count") or 1), cells.name(o)]


def _describe(o: Raw, _: Slices) -> Fields:
    return [
        ("Involved Object", _object(o)),
        ("Type", str(o.get("type", ""))),
        ("Reason", str(o.get("reason", ""))),
        ("Message", str(o.get("message", ""))),
        ("Source", _source(o)),
        ("First Seen", str(o.get("firstTimestamp", ""))),
        ("Last Seen", str(o.get("lastTimestamp", ""))),
        ("Count", str(o.get("count") or 1)),
    ]


DEFINITION = Definition(
    check=whole(
        EVENT,
        dns_subdomain,
        fields={"type": one_of("Normal", "Warning"), "count": integer(0)},
    ),
    standing=ASIDE,
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
