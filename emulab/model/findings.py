"""Something to say about an object, and the one line in which it is said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.model.objects import Object, Position


class Finding(NamedTuple):
    """What is wrong, or odd, at a path of an object that has passed the schema."""

    object: Object
    path: FieldPath
    message: str

    def line(self, position: Position | None = None) -> str:
        """`FILE:LINE: Kind/name path: message`; the object's own position unless a closer one is known."""
        return one_line(position or self.object.position, self.object.raw, self.path, self.message)


def one_line(position: Position, raw: Any, path: FieldPath, message: str) -> str:
    """The line for a problem of `raw`, which need not even be an object."""
    where = " ".join(part for part in (_identity(raw), path_text(path)) if part)
    return f"{position}: {where}: {message}" if where else f"{position}: {message}"


def path_text(path: FieldPath) -> str:
    """`("spec", "ports", 0, "port")` as `spec.ports[0].port`; a key with dots stands in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{_printable(step)}]"
    return text


def _identity(raw: Any) -> str:
    if not isinstance(raw, dict):
        return ""
    metadata = raw.get("metadata")
    parts = (raw.get("kind"), metadata.get("name") if isinstance(metadata, dict) else None)
    return "/".join(_printable(part) for part in parts if isinstance(part, str) and part)


def _printable(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text[:100])
    return shown if len(text) <= 100 else shown + "…"
