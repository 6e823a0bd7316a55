"""A set of objects that can be asked by kind, key and owner: what controllers and plans read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from emulab.model.objects import Key, Object


class Objects:
    """An immutable collection of objects with the indexes that controllers need.

    Building one is cheap (no copies); the owner index is made when it is first asked for.
    """

    def __init__(self, objects: Iterable[Object] = ()) -> None:
        self._kinds: dict[str, dict[Key, Object]] = {}
        for o in objects:
            self._kinds.setdefault(o.kind, {})[o.key] = o
        self._owned: dict[str, list[Object]] | None = None

    @classmethod
    def of_kinds(cls, kinds: Mapping[str, Mapping[Key, Object]]) -> Objects:
        """A collection over mappings that the caller promises not to change."""
        self = cls()
        self._kinds = {kind: dict(members) for kind, members in kinds.items()}
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

    def owned_by(self, owner: Object) -> list[Object]:
        """Objects whose controller `ownerReference` carries the owner's uid."""
        if self._owned is None:
            self._owned = {}
            for o in self:
                for reference in o.metadata.get("ownerReferences") or ():
                    if reference.get("controller"):
                        self._owned.setdefault(reference["uid"], []).append(o)
        return self._owned.get(str(owner.metadata.get("uid")), [])


@dataclass(frozen=True, slots=True)
class Put:
    """Create the object, or replace the one of the same key; the store fills in uid, generation, versions."""

    object: Object


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object. A Pod that runs gets a `deletionTimestamp` and goes when its containers ended."""

    key: Key


Change = Put | Delete
