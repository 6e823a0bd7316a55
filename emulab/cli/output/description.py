"""What `emulab describe` says of an object: its metadata, and the fields that its kind adds. Pure."""

from __future__ import annotations

from emulab.kinds.cells import NONE, Raw
from emulab.kinds.fields import Fields, Slices, Value, pairs
from emulab.kinds.kind import Kind

_HIDDEN = ("kubectl.kubernetes.io/last-applied-configuration",)


def describe(kind: Kind, o: Raw, slices: Slices) -> str:
    """The description of an object; `slices` are the EndpointSlices of its namespace."""
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
    return render([*fields, *kind.definition.describe(o, slices)])


def render(fields: Fields, indent: int = 0) -> str:
    """Labels in one column, values in another, what is nested indented."""
    flat = [label for label, value in fields if not _nested(value)]
    width = max((len(label) for label in flat), default=0) + 3
    lines: list[str] = []
    margin = " " * indent
    for label, value in fields:
        if _nested(value):
            lines += [f"{margin}{label}:", render(value, indent + 2)]  # type: ignore[arg-type]
            continue
        texts = [value] if isinstance(value, str) else [str(v) for v in value] or [NONE]
        lines.append(f"{margin}{label + ':':<{width}}{texts[0]}".rstrip())
        lines += [f"{margin}{'':<{width}}{text}" for text in texts[1:]]
    return "\n".join(lines)


def _nested(value: Value) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], tuple)
