"""A mapping of which many versions can be held, each made from the one before in the time that its changes take. Pure.

All versions share one dict, which the newest one has; an older one knows what is otherwise in the next newer
(H. Baker, Shallow Binding Makes Functional Arrays Fast, 1991). So the newest is as fast as a dict, and what
differs between neighbours needs not to be looked for, however large they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


_NOTHING: Any = object()


class MapChange(Generic[K, V]):
    """From an older version to a newer one: keys that go, and keys that come or have other values."""

    __slots__ = ("added", "removed")

    def __init__(self, removed: list[K], added: dict[K, V]) -> None:
        self.removed = removed
        self.added = added

    @property
    def empty(self) -> bool:
        return not self.removed and not self.added


class Persistent(Mapping[K, V]):
    """A version. Nobody who holds it sees it change."""

    __slots__ = ("_before", "_dict", "_newer")

    def __init__(self, given: Mapping[K, V]) -> None:
        """`given` becomes its own, where it is a dict: the caller doesn't change it any more."""
        self._dict: dict[K, V] | None = given if isinstance(given, dict) else dict(given)
        self._newer: Persistent[K, V] | None = None
        # What differs from the newer one: the value here, None: no value.
        self._before: dict[K, tuple[V] | None] = {}

    def changed(self, removed: Iterable[K], added: Mapping[K, V]) -> Persistent[K, V]:
        """The version without some keys, and then with others. Raises KeyError for a removed key that isn't there."""
        own = self._whole()
        before: dict[K, tuple[V] | None] = {key: (own[key],) for key in removed}
        for key in before:
            del own[key]
        for key, value in added.items():
            if key not in before:
                before[key] = (own[key],) if key in own else None
            own[key] = value
        newer = Persistent(own)
        self._dict, self._newer, self._before = None, newer, before
        return newer

    def change_to(self, newer: Mapping[K, V]) -> MapChange[K, V] | None:
        """What changed up to a newer version; None when the other isn't one."""
        before: dict[K, tuple[V] | None] = {}
        version: Persistent[K, V] = self
        while version is not newer:
            if version._newer is None:
                return None
            for key, old in version._before.items():
                before.setdefault(key, old)
            version = version._newer
        pairs = [(key, old[0] if old else _NOTHING, newer.get(key, _NOTHING)) for key, old in before.items()]
        removed = [key for key, old, new in pairs if old is not _NOTHING and old != new]
        return MapChange(removed, {key: new for key, old, new in pairs if new is not _NOTHING and old != new})

    def _whole(self) -> dict[K, V]:
        """The whole mapping as a dict; an older version takes a copy for itself."""
        if self._dict is None:
            before, newest = self._since()
            whole = dict(newest)
            for key, old in before.items():
                if old is not None:
                    whole[key] = old[0]
                elif key in whole:
                    del whole[key]
            self._dict, self._newer, self._before = whole, None, {}
        return self._dict

    def _since(self) -> tuple[dict[K, tuple[V] | None], dict[K, V]]:
        """What may differ from the newest version (as in `_before`), and what that one has."""
        before: dict[K, tuple[V] | None] = {}
        version: Persistent[K, V] = self
        while version._dict is None:
            for key, old in version._before.items():
                before.setdefault(key, old)
            assert version._newer is not None
            version = version._newer
        return before, version._dict

    def __getitem__(self, key: K) -> V:
        version: Persistent[K, V] = self
        while version._dict is None:
            if key in version._before:
                old = version._before[key]
                if old is None:
                    raise KeyError(key)
                return old[0]
            assert version._newer is not None
            version = version._newer
        return version._dict[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._whole())

    def __len__(self) -> int:
        if self._dict is not None:
            return len(self._dict)
        before, newest = self._since()
        return len(newest) + sum((old is not None) - (key in newest) for key, old in before.items())

    def __eq__(self, other: Any) -> bool:
        if self is other:
            return True
        if isinstance(other, Persistent):
            # No copy is made of an older version for this.
            change = self.change_to(other) or other.change_to(self)
            return change.empty if change else self._whole() == other._whole()
        return self._whole() == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._whole())


def change_between(old: Mapping[K, V], new: Mapping[K, V]) -> MapChange[K, V]:
    """From one mapping to another. Of versions nothing is looked at but what differs."""
    if old is new:
        return MapChange([], {})
    if isinstance(old, Persistent) and (known := old.change_to(new)):
        return known
    removed = [key for key, value in old.items() if new.get(key, _NOTHING) != value]
    return MapChange(removed, {key: value for key, value in new.items() if old.get(key, _NOTHING) != value})
