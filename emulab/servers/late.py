"""Mappings of which few values are ever asked for: each is read when that happens, from JSON that came with the rest.

Of a cluster's ten thousand Services a name server is asked for a few hundred, and shall answer at once. What is wrong
with a value is found when it is read; who writes such mappings has had mypy look at them.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")


class Unread(dict[str, str]):
    """In plain data: the values of a mapping as JSON, by their keys."""


class Late(Mapping[str, Value]):
    """A mapping whose values are read when they are first asked for. Nobody sees that it changes."""

    __slots__ = ("_held", "_read")

    def __init__(self, held: dict[str, str | Value], read: Callable[[str, str], Value]) -> None:
        """`held` becomes its own: values, or what `read` makes a value of, given the key as well. No value is a str."""
        self._held = held
        self._read = read

    def __getitem__(self, key: str) -> Value:
        held = self._held[key]
        if isinstance(held, str):
            held = self._held[key] = self._read(key, held)
        return held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __eq__(self, other: object) -> bool:
        """Equal texts have equal values, and needn't be read."""
        if not isinstance(other, Mapping):
            return NotImplemented
        theirs = other._held if isinstance(other, Late) else other
        if self._held.keys() != theirs.keys():
            return False
        return all(held == theirs[key] or self[key] == other[key] for key, held in self._held.items())

    __hash__ = None  # type: ignore[assignment]

    def held(self) -> ItemsView[str, str | Value]:
        """All there is, a value that nobody has asked for as JSON."""
        return self._held.items()

    def changed(self, changes: Mapping[str, Value | None]) -> Late[Value]:
        """With other values; None for one that goes."""
        held = dict(self._held)
        _change(held, changes)
        return Late(held, self._read)


def held(given: Mapping[str, Value]) -> Iterable[tuple[str, str | Value]]:
    """All that is in a mapping, a value that nobody has asked for as JSON."""
    return given.held() if isinstance(given, Late) else given.items()


def changed(given: Mapping[str, Value], changes: Mapping[str, Value | None]) -> Mapping[str, Value]:
    """A mapping with other values; None for one that goes. The very same where there are none."""
    if not changes:
        return given
    if isinstance(given, Late):
        return given.changed(changes)
    found = dict(given)
    _change(found, changes)
    return found


def _change(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
