"""What was planned, kept as long as all that it was planned from is the very same. Pure, but for what it remembers.

Who plans a part of the world reads objects from a `PlanSource`. The part is made again only when something that was
read then would be another thing now: objects are never changed in place, so it is enough to look whether they are the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from emulab.model.collection import Objects
from emulab.model.keys import GroupKind, Key
from emulab.model.members import Members, changed_keys
from emulab.model.objects import Object
from emulab.plan.endpoints import ServiceName, SliceObjects, SlicesByService

T = TypeVar("T")


class PlanSource:
    """The objects to plan for."""

    def __init__(self, objects: Objects, slices: SlicesByService) -> None:
        self.objects = objects
        self.all_slices = slices

    @classmethod
    def of(cls, objects: Objects) -> PlanSource:
        """A source for who plans once."""
        return cls(objects, SlicesByService.among(objects))

    def get(self, key: Key) -> Object | None:
        """The object with a key, if it is there."""
        return self.objects.get(key)

    def members(self, kind: GroupKind) -> Members:
        """All objects of a kind."""
        return self.objects.members(kind)

    def facts(self, kind: GroupKind, ask: Callable[[Object], T | None]) -> Mapping[Key, T]:
        """What `ask` says of each object of a kind, without None. Whoever asks so doesn't depend on all of them."""
        return self.objects.facts(kind, ask)

    def slices(self, name: ServiceName) -> SliceObjects:
        """The EndpointSlices of a Service."""
        return self.all_slices.of(name)


class _Noted(PlanSource):
    """A source that notes what was asked, and what it said."""

    def __init__(self, source: PlanSource) -> None:
        super().__init__(source.objects, source.all_slices)
        self.said: list[tuple[str, tuple[Any, ...], Any]] = []

    def get(self, key: Key) -> Object | None:
        found = super().get(key)
        self.said.append(("get", (key,), found))
        return found

    def members(self, kind: GroupKind) -> Members:
        found = super().members(kind)
        self.said.append(("members", (kind,), found))
        return found

    def facts(self, kind: GroupKind, ask: Callable[[Object], T | None]) -> Mapping[Key, T]:
        found = super().facts(kind, ask)
        self.said.append(("facts", (kind, ask), found))
        return found

    def slices(self, name: ServiceName) -> SliceObjects:
        found = super().slices(name)
        self.said.append(("slices", (name,), found))
        return found


class Kept(Generic[T]):
    """A part of the plan, with what it was planned from."""

    def __init__(self, make: Callable[[PlanSource], T]) -> None:
        self._make = make
        self._said: list[tuple[str, tuple[Any, ...], Any]] | None = None
        self._made: T

    def now(self, source: PlanSource) -> T:
        """The part for these objects: the very same value where nothing changed of what it is made of."""
        if self._said is None or not _still_says(source, self._said):
            noted = _Noted(source)
            self._made = self._make(noted)
            self._said = noted.said
        return self._made


def _still_says(source: PlanSource, said: list[tuple[str, tuple[Any, ...], Any]]) -> bool:
    return all(_same(how, getattr(source, how)(*what), answer) for how, what, answer in said)


def _same(how: str, now: Any, then: Any) -> bool:
    """Whether an answer is the same. Facts are when they are equal: nobody saw the objects that they are of."""
    if now is then or how != "facts":
        return now is then
    return all(now.get(key) == then.get(key) for key in changed_keys(then, now))
