"""What differs in two configurations, where a running server needs to be told no more.

A configuration may list ten thousand things of which one changes at a time. The class of one whose server implements
`base.Patchable` names the mappings that do so, by their paths:

    class DnsConfig(Configuration):
        PATCHED = frozenset({"kubernetes.services"})

A patch has what differs in them: `{"kubernetes.services": {"default/web": {…}, "default/gone": null}}`. Where anything
else differs there is no patch, and the server is told all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from emulab.servers.configuration import BadConfiguration, Configuration, Plain, from_json

Value = TypeVar("Value")

Patch = Mapping[str, Mapping[str, Any]]
"""By the path of a mapping: its keys that differ, with their new values; None for one that goes."""


def patch_between(old: Configuration, new: Configuration) -> Patch | None:
    """What to tell a server that has `old`; empty when nothing differs, None when it is to be told all of `new`."""
    paths: frozenset[str] = getattr(type(new), "PATCHED", frozenset())
    found: dict[str, Mapping[str, Any]] = {}
    return found if type(old) is type(new) and _compared(old, new, "", paths, found) else None


def _compared(
    old: Any, new: Any, path: str, paths: frozenset[str], found: dict[str, Mapping[str, Any]]
) -> bool:
    """Puts what differs into `found`. Whether that is all."""
    if old is new:
        return True
    if path in paths and isinstance(old, Mapping) and isinstance(new, Mapping):
        if changes := _changes(old, new):
            found[path] = changes
        return True
    if is_dataclass(new) and type(old) is type(new) and any(one.startswith(path) for one in paths):
        inside = f"{path}." if path else ""
        return all(
            _compared(getattr(old, one.name), getattr(new, one.name), inside + one.name, paths, found)
            for one in fields(new)
        )
    return bool(old == new)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that differ, each with its new value."""
    changes: dict[str, Any] = {
        key: value for key, value in new.items() if (was := old.get(key)) is not value and was != value
    }
    return changes | {key: None for key in old if key not in new}


def read_changes(kind: type[Value], changes: Mapping[str, Plain], path: str) -> dict[str, Value | None]:
    """The values of this type that a patch has for the mapping at `path`. Raises BadConfiguration."""
    if not isinstance(changes, dict):
        raise BadConfiguration(f"patch of {path}: must be an object")
    return {
        key: None if value is None else from_json(kind, value, f"config.{path}.{key}")
        for key, value in changes.items()
    }
