"""JSON Merge Patch (RFC 7396): what is changed, and what a change is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patched(value: Any, patch: Any) -> Any:
    """A value with a patch applied; `None` in a patch takes a field away."""
    if not isinstance(patch, Mapping):
        return patch
    changed = dict(value) if isinstance(value, Mapping) else {}
    for name, change in patch.items():
        if change is None:
            changed.pop(name, None)
        else:
            changed[name] = merge_patched(changed.get(name), change)
    return changed


def difference(old: Any, new: Any) -> Any:
    """The patch that makes `new` of `old`."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    gone = {name: None for name in old if name not in new}
    changed = {
        name: difference(old.get(name), value) for name, value in new.items() if old.get(name) != value
    }
    return {**gone, **changed}
