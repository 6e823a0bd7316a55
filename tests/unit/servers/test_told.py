"""Mappings of a configuration that are read late: as they are written, and what is said of what is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import BadConfiguration, Configuration, from_json, json_bytes
from emulab.servers.late import Late, Unread, changed, held
from emulab.servers.texts import text_writer
from emulab.servers.told import read_told, told_bytes


class Pair(NamedTuple):
    text: str
    number: int


@dataclass(frozen=True, slots=True)
class Inner:
    weight: float
    on: bool = True


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    pair: Pair
    pairs: tuple[Pair, ...] = ()
    words: tuple[str, ...] = ("a",)
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    on: bool = False
    count: int = 3
    by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Light:
    on: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    things: Mapping[str, Thing]
    lights: Mapping[str, Light] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shelf(Configuration):
    LATE = frozenset({"box.things", "box.lights"})

    box: Box | None = None


INNERS = st.builds(Inner, st.floats(allow_nan=False), st.booleans())
PAIRS = st.builds(Pair, st.text(), st.integers())
THINGS = st.builds(
    Thing,
    st.text(),
    PAIRS,
    st.lists(PAIRS, max_size=2).map(tuple),
    st.lists(st.text(), max_size=2).map(tuple),
    st.none() | INNERS,
    st.lists(INNERS, max_size=2).map(tuple),
    st.booleans(),
    st.integers(),
    st.dictionaries(st.text(), st.integers(), max_size=2),
)


@given(THINGS)
def test_one_value_is_written_as_it_is_among_others(thing: Thing) -> None:
    written = text_writer(Thing)(thing)
    assert json.loads(written) == json.loads(json_bytes(thing)) and "\n" not in written


@given(st.dictionaries(st.text().filter(lambda key: "\n" not in key), THINGS, max_size=3))
def test_what_is_read_late_is_what_was_written(things: dict[str, Thing]) -> None:
    shelf = Shelf((), Box(things, {"x": Light(), "y": Light(True)}))
    assert from_json(Shelf, read_told(told_bytes(shelf))) == shelf


def test_there_may_be_none() -> None:
    for shelf in (Shelf(()), Shelf(("tcp/x/1",), Box({}))):
        assert from_json(Shelf, read_told(told_bytes(shelf))) == shelf
        assert told_bytes(shelf) == json_bytes(shelf)


def test_a_key_is_in_one_line() -> None:
    with pytest.raises(BadConfiguration, match=r"config\.box\.things: no key has several lines, as"):
        told_bytes(Shelf((), Box({"a\nb": Thing("x", Pair("", 0))})))


def late(**texts: str) -> Mapping[str, Thing]:
    given: Any = Mapping[str, Thing]
    read: Mapping[str, Thing] = from_json(given, Unread(texts))
    return read


def test_what_is_wrong_is_said_when_it_is_read() -> None:
    things = late(a='{"name": "x", "pair": ["p", 1]}', b='{"name": "x", "pair": ["p", "q"]}')
    assert things["a"] == Thing("x", Pair("p", 1)) and "b" in things and len(things) == 2
    with pytest.raises(BadConfiguration, match=r'config….b.pair.number: an integer is expected, not "q"'):
        things["b"]
    with pytest.raises(KeyError):
        things["c"]


def test_others_that_are_equal_are_not_read() -> None:
    text = '{"name": "x", "pair": ["p", 1]}'
    one, other = late(a=text, b=text), late(b=text, a=text)
    assert one == other and dict(held(one)) == {"a": text, "b": text}
    assert one["a"].name == "x" and one == other and dict(held(other)) == {"a": one["a"], "b": text}
    assert one == {"a": one["a"], "b": one["a"]} and {"a": one["a"], "b": one["a"]} == one
    assert one != late(a=text) and one != late(a=text, b=text.replace("x", "y")) and one != 3


def test_changes_are_another_mapping() -> None:
    text = '{"name": "x", "pair": ["p", 1]}'
    new = Thing("new", Pair("q", 2))
    one = late(a=text, b=text)
    other = changed(one, {"a": None, "c": new, "missing": None})
    assert isinstance(other, Late) and dict(held(other)) == {"b": text, "c": new} and [*one] == ["a", "b"]
    assert changed(one, {}) is one and changed({"a": new}, {"b": new}) == {"a": new, "b": new}
