"""What differs in two configurations, where a running server needs to be told no more.

A configuration may list ten thousand things of which one changes at a time. The class of one whose server implements
`base.Patchable` names the mappings that do so, by their paths:

    class DnsConfig(Configuration):
        PATCHED = frozenset({"kubernetes.services"})

A patch has what differs in them: `{"kubernetes.services": {"default/web": {…}, "default/gone": null}}`. A tuple may be
among them: `{"routes": {"from": 7, "to": 9, "values": […]}}` says what those from the seventh to before the ninth are
replaced by. Where anything else differs there is no patch, and the server is told all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from emulab.servers.configuration import BadConfiguration, Configuration, Plain, from_json

Value = TypeVar("Value")

Patch = Mapping[str, Mapping[str, Any]]
"""By the path of a mapping: its keys that differ, with their new values; None for one that goes. By that of a tuple:
what `_splice` says."""

Differing = Callable[[Mapping[str, Any], Mapping[str, Any]], Iterable[str]]
"""Of two mappings: the keys that may differ, all others don't."""


def _all_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[str]:
    return {**new, **old}


def patch_between(old: Configuration, new: Configuration, differing: Differing = _all_keys) -> Patch | None:
    """What to tell a server that has `old`; empty when nothing differs, None when it is to be told all of `new`.

    Who knows mappings that know what they differ in says so by `differing`.
    """
    paths: frozenset[str] = getattr(type(new), "PATCHED", frozenset())
    found: dict[str, Mapping[str, Any]] = {}
    return found if type(old) is type(new) and _compared(old, new, "", paths, found, differing) else None


def _compared(
    old: Any,
    new: Any,
    path: str,
    paths: frozenset[str],
    found: dict[str, Mapping[str, Any]],
    differing: Differing,
) -> bool:
    """Puts what differs into `found`. Whether that is all."""
    if old is new:
        return True
    if path in paths and isinstance(old, Mapping) and isinstance(new, Mapping):
        values = ((key, old.get(key), new.get(key)) for key in differing(old, new))
        if changes := {key: now for key, was, now in values if was is not now and was != now}:
            found[path] = changes
        return True
    if path in paths and isinstance(old, tuple) and isinstance(new, tuple):
        if between := _splice(old, new):
            found[path] = between
        return True
    if is_dataclass(new) and type(old) is type(new) and any(one.startswith(path) for one in paths):
        inside = f"{path}." if path else ""
        return all(
            _compared(
                getattr(old, one.name), getattr(new, one.name), inside + one.name, paths, found, differing
            )
            for one in fields(new)
        )
    return bool(old == new)


def _splice(old: Sequence[Any], new: Sequence[Any]) -> Mapping[str, Any]:
    """What a tuple is patched with; empty when nothing differs."""
    shorter = min(len(old), len(new))
    begin = next((n for n in range(shorter) if old[n] is not new[n] and old[n] != new[n]), shorter)
    if begin == len(old) == len(new):
        return {}
    same = 0
    while same < shorter - begin:
        one, other = old[-1 - same], new[-1 - same]
        if one is not other and one != other:
            break
        same += 1
    return {"from": begin, "to": len(old) - same, "values": new[begin : len(new) - same]}


def spliced(
    kind: type[Value], old: tuple[Value, ...], change: Mapping[str, Plain], path: str
) -> tuple[Value, ...]:
    """A tuple of values of this type as a patch has it. Raises BadConfiguration."""
    match change:
        case {"from": int(begin), "to": int(end), "values": list(values)} if 0 <= begin <= end <= len(old):
            fresh = (
                from_json(kind, value, f"config.{path}[{begin + index}]")
                for index, value in enumerate(values)
            )
            return (*old[:begin], *fresh, *old[end:])
    raise BadConfiguration(f"patch of {path}: no part of {len(old)} is replaced by that")


def read_changes(kind: type[Value], changes: Mapping[str, Plain], path: str) -> dict[str, Value | None]:
    """The values of this type that a patch has for the mapping at `path`. Raises BadConfiguration."""
    if not isinstance(changes, dict):
        raise BadConfiguration(f"patch of {path}: must be an object")
    return {
        key: None if value is None else from_json(kind, value, f"config.{path}.{key}")
        for key, value in changes.items()
    }
