"""Mappings in versions of which each knows what it changed of the one that it was made from: objects of a kind by key.

To find which of thousands of objects aren't the same takes milliseconds. Versions that have a common ancestor, as a
store's and those of its forks have, differ at most in what was written since; others are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from emulab.model.keys import Key
from emulab.model.objects import Object

K = TypeVar("K")
V = TypeVar("V")

Members = Mapping[Key, Object]
"""All objects of a kind. Not to be changed by who reads them: equal collections are known by being the same mapping."""

_REMEMBERED = 32
"""Versions back to which a version knows what changed."""
_REPLACED, _ADDED, _REMOVED = range(3)


class _Step:
    """What one version changed: what happened to each key, a removal counting for more than what came after it."""

    __slots__ = ("before", "keys")

    def __init__(self, before: _Step | None) -> None:
        self.before = before
        self.keys: dict[Any, int] = {}


class Version(dict[K, V]):
    """A version. `write` and `remove` change it as long as nobody else reads it; then there has to be a `next` one."""

    __slots__ = ("_step",)

    def __init__(self, content: Mapping[K, V] = {}, before: _Step | None = None) -> None:
        super().__init__(content)
        self._step = _Step(before)

    def next(self) -> Version[K, V]:
        """The version after this one, equal as yet."""
        step: _Step | None = self._step
        for _ in range(_REMEMBERED):
            step = step and step.before
        if step is not None:
            step.before = None
        return Version(self, self._step)

    def write(self, key: K, value: V) -> None:
        """Puts a value there."""
        if key not in self:
            self._step.keys.setdefault(key, _ADDED)
        else:
            self._step.keys.setdefault(key, _REPLACED)
        self[key] = value

    def remove(self, key: K) -> V | None:
        """Takes a value away, if it is there."""
        self._step.keys[key] = _REMOVED
        return self.pop(key, None)


class Difference(NamedTuple, Generic[K]):
    """What two versions differ in."""

    keys: list[K]
    """Of values that came, went or aren't the very same; those that went are last, those that came are in order."""
    in_order: bool
    """Whether all that both have is in the same order in both, and what came is behind it."""


def difference(old: Mapping[K, V], new: Mapping[K, V]) -> Difference[K]:
    """What `new` differs in from `old`."""
    if old is new:
        return Difference([], True)
    if isinstance(old, Version) and isinstance(new, Version):
        steps = _apart(old._step, new._step)
        if steps is not None:
            return _noted(old, new, *steps)
    before = old.get
    found = [key for key, value in new.items() if before(key) is not value]
    if len(old) + sum(key not in old for key in found) != len(new):
        found += [key for key in old if key not in new]
    return Difference(found, not old)


def changed_keys(old: Mapping[K, V], new: Mapping[K, V]) -> list[K]:
    """The keys that two versions differ in (see `Difference.keys`)."""
    return difference(old, new).keys


def _apart(old: _Step, new: _Step) -> tuple[list[_Step], list[_Step]] | None:
    """The steps that lead to each of two versions from their last common one, the first ones first."""
    olds, step = [old], old.before
    while step is not None and len(olds) <= _REMEMBERED:
        olds.append(step)
        step = step.before
    places = {id(step): place for place, step in enumerate(olds)}
    news: list[_Step] = []
    step = new
    while step is not None and len(news) <= _REMEMBERED:
        if id(step) in places:
            return olds[: places[id(step)]][::-1], news[::-1]
        news.append(step)
        step = step.before
    return None


def _noted(old: Version[K, V], new: Version[K, V], olds: list[_Step], news: list[_Step]) -> Difference[K]:
    here, there = _together(olds), _together(news)
    keys = [key for key in {**here, **there} if old.get(key) is not new.get(key)]
    moved = any(what == _REMOVED and key in new for key, what in (*here.items(), *there.items()))
    came_before = [key for key, what in here.items() if what == _ADDED and key in new]
    came = [key for key, what in there.items() if what == _ADDED and key in new]
    in_order = not moved and came[: len(came_before)] == came_before
    return Difference([*(k for k in keys if k in new), *(k for k in keys if k not in new)], in_order)


def _together(steps: list[_Step]) -> dict[Any, int]:
    if len(steps) == 1:
        return steps[0].keys
    found: dict[Any, int] = {}
    for step in steps:
        for key, what in step.keys.items():
            found[key] = max(found.get(key, what), what)
    return found
