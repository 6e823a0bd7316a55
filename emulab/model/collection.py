"""A set of objects that can be asked by kind and key: what controllers and plans read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from emulab.dataclass import dataclass
from emulab.model.objects import Key, Object


class Objects:
    """An immutable collection of objects by kind and key. Building one is cheap: no object is copied.

    `pods_ever` holds the keys of all Pods that there are or were, where somebody kept a record of them.
    """

    pods_ever: frozenset[Key] = frozenset()

    def __init__(self, objects: Iterable[Object] = ()) -> None:
        self._kinds: dict[str, dict[Key, Object]] = {}
        for o in objects:
            self._kinds.setdefault(o.kind, {})[o.key] = o

    @classmethod
    def of_kinds(cls, kinds: dict[str, dict[Key, Object]], pods_ever: frozenset[Key]) -> Objects:
        """A collection over dicts that nobody changes any more."""
        self = cls()
        self.pods_ever = pods_ever
        self._kinds = kinds
        return self

    def __iter__(self) -> Iterator[Object]:
        for members in self._kinds.values():
            yield from members.values()

    def kind(self, kind: str, namespace: str | None = None) -> list[Object]:
        """All objects of a kind, of one namespace when given, in the order in which they came."""
        members = self._kinds.get(kind, {}).values()
        return [o for o in members if namespace is None or o.namespace == namespace]

    def get(self, key: Key) -> Object | None:
        return self._kinds.get(key.kind, {}).get(key)


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
