"""Fields of manifests that nothing follows: one line for each field of a kind, with the first place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulab.kinds.following import Watch
from emulab.kinds.kind import Kind
from emulab.kinds.registry import KINDS
from emulab.model.findings import one_line
from emulab.model.keys import GroupKind, group_kind
from emulab.model.objects import Position
from emulab.model.paths import FieldPath


class Unfollowed:
    """What has been met so far."""

    def __init__(self) -> None:
        self._watches: dict[GroupKind, Watch] = {}
        self._first: dict[tuple[Kind, str], str] = {}
        self._objects: dict[tuple[Kind, str], int] = {}

    def meet(self, raw: Mapping[str, Any], place: Callable[[FieldPath], Position]) -> None:
        """Looks at an object that has passed the schema; `place` tells where a path of it stands."""
        kind = KINDS[group_kind(raw["apiVersion"], raw["kind"])]
        watch = self._watches.get(kind)
        if watch is None:
            watch = self._watches[kind] = Watch(kind.definition.fields)
        here: set[str] = set()
        for row in watch.found(raw):
            known = kind, row.pattern
            if known not in self._first:
                self._first[known] = one_line(
                    place(row.path), raw, row.path, f"isn't followed: {row.instead}"
                )
            if row.pattern not in here:
                here.add(row.pattern)
                self._objects[known] = self._objects.get(known, 0) + 1

    def lines(self) -> list[str]:
        return [f"{line}{_more(kind, self._objects[kind, row])}" for (kind, row), line in self._first.items()]


def _more(kind: Kind, objects: int) -> str:
    others = objects - 1
    if not others:
        return ""
    return f" (nor in {others} more {kind.kind}{'s' if others > 1 else ''})"
