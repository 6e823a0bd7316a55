"""What of objects a field selector may ask for: a field's name, and its text in a raw object. Pure.

All kinds have their name and Namespace; the others are those of Kubernetes' strategies (`ToSelectableFields` in
pkg/registry), defaults included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emulab.kinds.cells import Raw

Selectable = Mapping[str, Callable[[Raw], str]]

NO_MORE: Selectable = {}


def field(path: str, default: str = "") -> Callable[[Raw], str]:
    """The text of the field at a dotted path, which an object may lack."""
    *folders, last = path.split(".")

    def text(o: Raw) -> str:
        for folder in folders:
            o = o.get(folder) or {}
        value = o.get(last)
        if isinstance(value, bool):
            return "true" if value else "false"
        return default if value is None else str(value)

    return text


def fields(*paths: str) -> Selectable:
    return {path: field(path) for path in paths}


EVERYWHERE = fields("metadata.name", "metadata.namespace")
