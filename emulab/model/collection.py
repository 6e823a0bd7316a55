"""A set of objects that can be asked by kind and key: what controllers and plans read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from emulab.dataclass import dataclass
from emulab.model.keys import GroupKind, Key
from emulab.model.objects import Object


class Objects:
    """An immutable collection of objects by kind and key. Building one is cheap: no object is copied.

    `pods_ever` holds the keys of all Pods that there are or were, where somebody kept a record of them.
    """

    pods_ever: frozenset[Key] = frozenset()

    def __init__(self, objects: Iterable[Object] = ()) -> None:
        self._kinds: dict[tuple[str, str], dict[Key, Object]] = {}
        for o in objects:
            key = o.key
            self._kinds.setdefault(key[:2], {})[key] = o

    @classmethod
    def of_kinds(cls, kinds: dict[tuple[str, str], dict[Key, Object]], pods_ever: frozenset[Key]) -> Objects:
        """A collection over dicts that nobody changes any more."""
        self = cls()
        self.pods_ever = pods_ever
        self._kinds = kinds
        return self

    def __iter__(self) -> Iterator[Object]:
        for members in self._kinds.values():
            yield from members.values()

    def kind(self, kind: GroupKind, namespace: str | None = None) -> list[Object]:
        """All objects of a kind, of one namespace when given, in the order in which they came."""
        members = self._kinds.get(kind, {}).values()
        return [o for o in members if namespace is None or o.namespace == namespace]

    def by_kind(self) -> Iterator[tuple[tuple[str, str], Mapping[Key, Object]]]:
        """The objects of each kind, the kinds in the order in which they came."""
        yield from self._kinds.items()

    def get(self, key: Key) -> Object | None:
        return self._kinds.get(key[:2], {}).get(key)


@dataclass(frozen=True, slots=True)
class Put:
    """Create the object, or replace the one of the same key; the store fills in uid, generation, versions."""

    object: Object


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object. A Pod that runs gets a `deletionTimestamp` and goes when its containers ended."""

    key: Key


Change = Put | Delete
