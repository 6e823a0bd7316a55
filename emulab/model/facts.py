"""What is true of single objects, worked out once for each of them.

Much of what is asked of thousands of objects is answered by each one alone: whose it is, whether it lacks an address,
whether it selects Pods. A collection that differs in one object from the one before is asked about that object alone
(`emulab.model.members`). It works because objects are never changed in place (`emulab.model.objects`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from emulab.model.keys import GroupKind, Key
from emulab.model.members import Difference, Members, Version, difference
from emulab.model.objects import Object

T = TypeVar("T")


class Facts:
    """The answers for the collections that were asked about last. Several threads may ask."""

    def __init__(self) -> None:
        self._known: dict[tuple[GroupKind, Callable[[Object], Any]], tuple[Members, Version[Key, Any]]] = {}
        self._made: dict[Hashable, tuple[tuple[object, ...], Any]] = {}
        self.notes: dict[Hashable, Any] = {}
        """What else somebody knows of such collections, by a name of theirs."""
        self._differences: dict[GroupKind, tuple[Members, Members, Difference[Key]]] = {}

    def of(self, kind: GroupKind, members: Members, ask: Callable[[Object], T | None]) -> Mapping[Key, T]:
        """What `ask` says of each of these objects of a kind, in their order, without those of which it says None.

        The same mapping as before where nothing of it changed.
        """
        old, answers = self._known.get((kind, ask)) or ({}, Version())
        if old is not members:
            answers = _asked_anew(old, members, self._difference(kind, old, members), answers, ask)
            self._known[kind, ask] = members, answers
        return answers

    def _difference(self, kind: GroupKind, old: Members, new: Members) -> Difference[Key]:
        """What two collections differ in, which is asked for each question again."""
        last = self._differences.get(kind)
        if last is None or last[0] is not old or last[1] is not new:
            last = self._differences[kind] = old, new, difference(old, new)
        return last[2]

    def made(self, name: Hashable, parts: tuple[object, ...], make: Callable[[], T]) -> T:
        """What `make` makes of `parts`, made anew only where one of them isn't the very same as the last time."""
        known = self._made.get(name)
        if known is None or list(map(id, known[0])) != list(map(id, parts)):
            known = self._made[name] = parts, make()
        made: T = known[1]
        return made


def _asked_anew(
    old: Members,
    new: Members,
    differing: Difference[Key],
    answers: Version[Key, Any],
    ask: Callable[[Object], Any],
) -> Version[Key, Any]:
    keys, in_order = differing
    fresh = {key: answer for key in keys if key in new and (answer := ask(new[key])) is not None}
    stale = [key for key in keys if key in answers and key not in fresh]
    if not fresh and not stale:
        return answers
    if not old and in_order:
        return Version(fresh)
    kept = answers.next()
    for key in stale:
        kept.remove(key)
    for key, answer in fresh.items():
        kept.write(key, answer)
    if in_order and not any(key in old and key not in answers for key in fresh):
        return kept
    return Version({key: kept[key] for key in new if key in kept})
