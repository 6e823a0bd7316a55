"""What a running server is told of two configurations, and by whom it is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.dataclass import dataclass, field
from emulab.servers.configuration import BadConfiguration, Configuration, json_bytes
from emulab.servers.patches import patch_between, read_changes, spliced


class Row(NamedTuple):
    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Part:
    domain: str
    rows: Mapping[str, Row] = field(default_factory=dict)
    others: Mapping[str, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Large(Configuration):
    PATCHED = frozenset({"part.rows"})

    part: Part | None = None
    rest: tuple[str, ...] = ()


def large(rows: Mapping[str, Row], **more: object) -> Large:
    return Large((), Part("a", rows), **more)  # type: ignore[arg-type]


ONE = large({"x": Row("x", 1), "y": Row("y", 2)})


def test_what_differs_in_a_mapping_that_is_patched() -> None:
    other = large({"x": Row("x", 1), "y": Row("y", 3), "z": Row("z", 4)})
    patch = patch_between(ONE, other)
    assert patch == {"part.rows": {"y": Row("y", 3), "z": Row("z", 4)}}
    assert json.loads(json_bytes(patch)) == {"part.rows": {"y": ["y", 3], "z": ["z", 4]}}
    assert patch_between(other, ONE) == {"part.rows": {"y": Row("y", 2), "z": None}}


def test_nothing_is_told_where_nothing_differs() -> None:
    assert patch_between(ONE, ONE) == {}
    assert patch_between(ONE, large({"x": Row("x", 1), "y": Row("y", 2)})) == {}


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, rest=("more",)),
        replace(ONE, listen=("tcp/10.0.0.1/80",)),
        replace(ONE, part=None),
        replace(ONE, part=Part("b", {"x": Row("x", 1), "y": Row("y", 2)})),
        replace(ONE, part=Part("a", {}, {"x": Row("x", 1)})),
        Configuration(()),
    ],
)
def test_all_is_told_where_anything_else_differs(other: Configuration) -> None:
    assert patch_between(ONE, other) is None
    assert patch_between(other, ONE) is None


def test_a_configuration_without_such_mappings_is_told_whole() -> None:
    old, new = Configuration(("a",)), Configuration(("b",))
    assert patch_between(old, new) is None and patch_between(old, Configuration(("a",))) == {}


ROWS = st.dictionaries(st.sampled_from("abcd"), st.builds(Row, st.just("r"), st.integers(0, 2)))


@given(ROWS, ROWS)
def test_who_follows_patches_has_what_was_meant(old: Mapping[str, Row], new: Mapping[str, Row]) -> None:
    patch = patch_between(large(old), large(new))
    assert patch is not None
    told = json.loads(json_bytes(patch))
    rows = dict(old)
    for key, row in read_changes(Row, told.get("part.rows", {}), "part.rows").items():
        if row is None:
            del rows[key]
        else:
            rows[key] = row
    assert rows == new


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": ["x", "1"]}, r"config\.part\.rows\.x"),
        ({"x": 5}, r"config\.part\.rows\.x"),
        ([], r"patch of part\.rows: must be an object"),
    ],
)
def test_a_wrong_patch_is_refused_by_its_place(changes: object, words: str) -> None:
    with pytest.raises(BadConfiguration, match=words):
        read_changes(Row, changes, "part.rows")  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Ordered(Configuration):
    PATCHED = frozenset({"rows"})

    rows: tuple[Row, ...] = ()
    rest: str = ""


ORDERED = st.lists(st.builds(Row, st.just("r"), st.integers(0, 2)), max_size=6).map(tuple)


@given(ORDERED, ORDERED)
def test_a_tuple_is_patched_where_it_differs(old: tuple[Row, ...], new: tuple[Row, ...]) -> None:
    patch = patch_between(Ordered((), old), Ordered((), new))
    assert patch is not None and bool(patch) == (old != new)
    told = json.loads(json_bytes(patch))
    assert (spliced(Row, old, told["rows"], "rows") if told else old) == new


def test_of_many_rows_the_one_that_differs_is_told() -> None:
    old = tuple(Row("r", number) for number in range(1000))
    new = (*old[:500], Row("new", 1), *old[501:])
    assert patch_between(Ordered((), old), Ordered((), new)) == {
        "rows": {"from": 500, "to": 501, "values": (Row("new", 1),)}
    }
    assert patch_between(Ordered((), old), Ordered((), new, "else")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"from": 1, "to": 3, "values": []},
        {"from": -1, "to": 1, "values": []},
        {"from": 1, "to": 0, "values": []},
        {"from": 0, "to": 1},
        {"from": 0, "to": 1, "values": [5]},
        [],
    ],
)
def test_a_wrong_part_of_a_tuple_is_refused(change: object) -> None:
    with pytest.raises(BadConfiguration, match="rows"):
        spliced(Row, (Row("r", 1), Row("r", 2)), change, "rows")  # type: ignore[arg-type]
