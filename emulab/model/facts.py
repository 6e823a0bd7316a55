"""What is true of single objects, worked out once for each of them.

Much of what is asked of thousands of objects is answered by each one alone: whose it is, whether it lacks an address,
whether it selects Pods. A collection that differs in one object from the one before is asked about that object alone;
finding which it is takes some fifty nanoseconds for each of the others. It works because objects are never changed in
place (`emulab.model.objects`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from emulab.model.keys import GroupKind, Key
from emulab.model.objects import Object

T = TypeVar("T")
Members = Mapping[Key, Object]
"""All objects of a kind. Not to be changed: equal collections are known by being the same mapping."""


class Facts:
    """The answers for the collections that were asked about last. Several threads may ask."""

    def __init__(self) -> None:
        self._known: dict[tuple[GroupKind, Callable[[Object], Any]], tuple[Members, dict[Key, Any]]] = {}
        self._made: dict[Hashable, tuple[tuple[object, ...], Any]] = {}

    def of(self, kind: GroupKind, members: Members, ask: Callable[[Object], T | None]) -> Mapping[Key, T]:
        """What `ask` says of each of these objects of a kind, in their order, without those of which it says None.

        The same mapping as before where nothing of it changed.
        """
        old, answers = self._known.get((kind, ask), ({}, {}))
        if old is not members:
            answers = _asked_anew(old, members, answers, ask)
            self._known[kind, ask] = members, answers
        return answers

    def made(self, name: Hashable, parts: tuple[object, ...], make: Callable[[], T]) -> T:
        """What `make` makes of `parts`, made anew only where one of them isn't the very same as the last time."""
        known = self._made.get(name)
        if known is None or list(map(id, known[0])) != list(map(id, parts)):
            known = self._made[name] = parts, make()
        made: T = known[1]
        return made


def _asked_anew(
    old: Members, new: Members, answers: dict[Key, Any], ask: Callable[[Object], Any]
) -> dict[Key, Any]:
    before = old.get
    changed = [(key, o) for key, o in new.items() if before(key) is not o]
    fresh = {key: answer for key, o in changed if (answer := ask(o)) is not None}
    if changed and len(changed) == len(new):
        return fresh
    stale = {key for key, _ in changed if key in answers}
    if len(old) + sum(key not in old for key, _ in changed) != len(new):
        stale |= answers.keys() - new.keys()
    if not fresh and not stale:
        return answers
    kept = {key: answer for key, answer in answers.items() if key not in stale}
    if not fresh:
        return kept
    return {key: fresh.get(key, kept.get(key)) for key in new if key in fresh or key in kept}
