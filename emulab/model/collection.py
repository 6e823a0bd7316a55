"""A set of objects that can be asked by kind and key: what controllers and plans read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from emulab.dataclass import dataclass
from emulab.model.facts import Facts
from emulab.model.keys import GroupKind, Key
from emulab.model.members import Members
from emulab.model.objects import Object

T = TypeVar("T")
_NONE: Members = {}


class Objects:
    """An immutable collection of objects by kind and key. Building one is cheap: no object is copied.

    `pods_ever` holds the keys of all Pods that there are or were, where somebody kept a record of them.
    """

    pods_ever: frozenset[Key] = frozenset()

    def __init__(self, objects: Iterable[Object] = ()) -> None:
        self._facts = Facts()
        given: dict[tuple[str, str], dict[Key, Object]] = {}
        for o in objects:
            key = o.key
            given.setdefault(key[:2], {})[key] = o
        self._kinds: Mapping[tuple[str, str], Members] = given

    @classmethod
    def of_kinds(
        cls,
        kinds: Mapping[tuple[str, str], Members],
        pods_ever: frozenset[Key],
        facts: Facts | None = None,
    ) -> Objects:
        """A collection over dicts that nobody changes any more. `facts`: those of collections much like it."""
        self = cls()
        self.pods_ever = pods_ever
        self._kinds = kinds
        self._facts = facts or self._facts
        return self

    def __iter__(self) -> Iterator[Object]:
        for members in self._kinds.values():
            yield from members.values()

    def kind(self, kind: GroupKind, namespace: str | None = None) -> list[Object]:
        """All objects of a kind, of one namespace when given, in the order in which they came."""
        members = self._kinds.get(kind, {}).values()
        return [o for o in members if namespace is None or o.namespace == namespace]

    def by_kind(self) -> Iterator[tuple[GroupKind, Members]]:
        """The objects of each kind by key, the kinds in the order in which they came."""
        for kind, members in self._kinds.items():
            yield GroupKind(*kind), members

    def members(self, kind: GroupKind) -> Members:
        """All objects of a kind by key. The very same mapping as long as none of them changes."""
        return self._kinds.get(kind, _NONE)

    def facts(self, kind: GroupKind, ask: Callable[[Object], T | None]) -> Mapping[Key, T]:
        """What `ask` says of each object of a kind, without None (`emulab.model.facts`)."""
        return self._facts.of(kind, self.members(kind), ask)

    def made(self, name: Hashable, parts: tuple[object, ...], make: Callable[[], T]) -> T:
        """What `make` makes of `parts`, remembered as long as these are the very same."""
        return self._facts.made(name, parts, make)

    @property
    def notes(self) -> dict[Hashable, Any]:
        """What somebody knows of collections much like this one, by a name of theirs, shared with these."""
        return self._facts.notes

    def get(self, key: Key) -> Object | None:
        return self._kinds.get(key[:2], {}).get(key)


@dataclass(frozen=True, slots=True)
class Put:
    """Create the object, or replace all but the status of the one of the same key; the store fills in uid, generation
    and versions."""

    object: Object


@dataclass(frozen=True, slots=True)
class PutStatus:
    """Replace the status of the object, where it is there."""

    key: Key
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object. A Pod that runs gets a `deletionTimestamp` and goes when its containers ended."""

    key: Key


NORMAL, WARNING = "Normal", "Warning"
"""The types of Events."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell of an object, in an Event, what happened: `reason` is one CamelCase word, `message` a sentence."""

    about: Object
    type: str  # NORMAL | WARNING
    reason: str
    message: str
    component: str
    host: str = ""  # the node, where it happened on one
    field: str = ""  # of the object that it is about: `spec.containers{web}`


Change = Put | PutStatus | Delete | Tell
