"""What was saved beside the object that made it: a Deployment's ReplicaSets and Pods, a Service's EndpointSlices.

Its controller makes its own here, with other names. In a cluster that is given all of them the garbage collector takes
those that were saved, as there is no owner of the uid that they name; so they are left out, and that is told. What was
saved without its owner is an object like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from emulab.model.findings import one_line
from emulab.model.objects import Position
from emulab.model.paths import FieldPath

T = TypeVar("T")


class _Made(NamedTuple):
    """One such object: who made it, and what it is in a line about it."""

    owner: str
    raw: Mapping[str, Any]
    position: Position


class Makings:
    """The owners and the owned among what is read."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}  # by uid: kind and name
        self._made: dict[int, _Made] = {}

    def meet(self, number: int, raw: Mapping[str, Any], place: Callable[[FieldPath], Position]) -> None:
        """Looks at the object with that number."""
        metadata = raw["metadata"]
        if uid := metadata.get("uid"):
            self._owners[str(uid)] = f"{raw['kind']}/{metadata['name']}"
        for owner in metadata.get("ownerReferences") or ():
            if isinstance(owner, dict) and owner.get("controller") and owner.get("uid"):
                kept = {"kind": raw["kind"], "metadata": {"name": metadata["name"]}}
                self._made[number] = _Made(str(owner["uid"]), kept, place(("metadata", "ownerReferences")))

    def left_out(self) -> frozenset[int]:
        """The numbers of those whose owner is given, too."""
        return frozenset(number for number, made in self._made.items() if made.owner in self._owners)

    def lines(self) -> Iterator[str]:
        """What is to be said of them: a line for each owner."""
        by_owner: dict[str, list[_Made]] = {}
        for number in sorted(self.left_out()):
            by_owner.setdefault(self._made[number].owner, []).append(self._made[number])
        for owner, made in by_owner.items():
            first, others = made[0], len(made) - 1
            more = f", and {others} more" if others else ""
            why = f"is left out{more}: {self._owners[owner]}, which is given too, makes its own"
            yield one_line(first.position, first.raw, (), why)


def without_numbers(numbers: frozenset[int], items: Iterable[T]) -> list[T]:
    """The items but for those with these numbers."""
    return [item for number, item in enumerate(items) if number not in numbers]
