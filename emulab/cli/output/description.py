"""What `emulab describe` says of an object: its metadata, and the fields that its kind adds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.cells import NONE, Raw
from emulab.kinds.core.event import last_seen, seen
from emulab.kinds.fields import Fields, LinesBelow, Slices, Value, pairs
from emulab.kinds.kind import Kind
from emulab.kinds.registry import EVENT

_HIDDEN = ("kubectl.kubernetes.io/last-applied-configuration",)


def describe(kind: Kind, o: Raw, slices: Slices, events: Sequence[Raw] | None = (), now: float = 0.0) -> str:
    """The description of an object; `slices` and `events` are the EndpointSlices and Events of its namespace. `events`
    is None where none are to be told."""
    metadata = o["metadata"]
    fields: Fields = [("Name", str(metadata["name"]))]
    if metadata.get("namespace"):
        fields.append(("Namespace", metadata["namespace"]))
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in _HIDDEN}
    fields += [("Labels", pairs(metadata.get("labels"))), ("Annotations", pairs(annotations, ": "))]
    owners = [
        f"{r['kind']}/{r['name']}" for r in metadata.get("ownerReferences") or () if r.get("controller")
    ]
    if owners:
        fields.append(("Controlled By", owners[0]))
    fields.append(("Created", str(metadata.get("creationTimestamp") or NONE)))
    if metadata.get("deletionTimestamp"):
        fields.append(("Terminating", f"since {metadata['deletionTimestamp']}"))
    text = render([*fields, *kind.definition.describe(o, slices)])
    return text if kind == EVENT or events is None else f"{text}\n{_happened(kind, o, events, now)}"


def _happened(kind: Kind, o: Raw, events: Sequence[Raw], now: float) -> str:
    """The Events of an object as a table, the last one at its end."""
    metadata = o["metadata"]
    about = (kind.kind, metadata["name"], metadata.get("uid"))
    own = [event for event in events if _about(event) == about]
    if not own:
        return f"Events:  {NONE}"
    rows = [_row(event, now) for event in sorted(own, key=last_seen)]
    header = ["Type", "Reason", "Age", "From", "Message"]
    ruled = [header, [*("-" * len(word) for word in header[:2]), "----", "----", "-------"], *rows]
    widths = [max(len(cell) for cell in column) + 2 for column in zip(*ruled, strict=True)]
    lines = [
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in ruled
    ]
    return "\n".join(["Events:", *(f"  {line}" for line in lines)])


def _about(event: Raw) -> tuple[str, str, str | None]:
    involved = event.get("involvedObject") or {}
    return str(involved.get("kind")), str(involved.get("name")), involved.get("uid")


def _row(event: Raw, now: float) -> list[str]:
    source = event.get("source") or {}
    words = [str(event.get(field, "")) for field in ("type", "reason")]
    component = str(source.get("component") or event.get("reportingComponent") or "")
    return [*words, seen(event, now), component, str(event.get("message", "")).strip()]


def render(fields: Fields, indent: int = 0) -> str:
    """Labels in one column, values in another, what is nested indented."""
    flat = [label for label, value in fields if not _nested(value)]
    width = max((len(label) for label in flat), default=0) + 3
    lines: list[str] = []
    margin = " " * indent
    for label, value in fields:
        if isinstance(value, LinesBelow):
            lines.append(f"{margin}{label + ':':<{width}}{value.beside}".rstrip())
            lines += [f"{margin}  {line}" for line in value.below]
            continue
        if _nested(value):
            lines += [f"{margin}{label}:", render(value, indent + 2)]  # type: ignore[arg-type]
            continue
        texts = [value] if isinstance(value, str) else [str(v) for v in value] or [NONE]
        lines.append(f"{margin}{label + ':':<{width}}{texts[0]}".rstrip())
        lines += [f"{margin}{'':<{width}}{text}" for text in texts[1:]]
    return "\n".join(lines)


def _nested(value: Value) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], tuple)
