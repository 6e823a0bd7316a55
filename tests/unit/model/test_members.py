"""Versions of a collection that know what they differ in, against comparing all of them; and facts asked of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from emulab.model.facts import Facts
from emulab.model.keys import GroupKind, Key
from emulab.model.members import Version, changed_keys, difference
from emulab.model.objects import Object

KIND = GroupKind("", "ConfigMap")


def key(name: str) -> Key:
    return KIND.key("default", name)


def obj(name: str, value: int) -> Object:
    metadata = {"name": name, "namespace": "default"}
    return Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"v": value}})


WRITES = st.lists(st.tuples(st.sampled_from("abcdef"), st.one_of(st.none(), st.integers(0, 3))), max_size=6)
HISTORY = st.lists(st.tuples(st.integers(0, 5), WRITES), min_size=1, max_size=8)
"""Versions: each made from which of those before, and what is written there; None removes."""


def grown(history: list[tuple[int, Any]]) -> list[Version]:
    versions = [Version()]
    for base, writes in history:
        version = versions[min(base, len(versions) - 1)].next()
        for name, value in writes:
            if value is None:
                version.remove(key(name))
            else:
                version.write(key(name), obj(name, value))
        versions.append(version)
    return versions


@given(HISTORY)
def test_what_two_versions_differ_in(history: list[tuple[int, Any]]) -> None:
    versions = grown(history)
    for old in versions:
        for new in versions:
            keys, in_order = difference(old, new)
            assert sorted(keys) == sorted({k for k in {**old, **new} if old.get(k) is not new.get(k)})
            assert sorted(keys) == sorted(changed_keys(dict(old), dict(new)))
            assert [k for k in keys if k in new] + [k for k in keys if k not in new] == keys
            if in_order:
                kept = [k for k in old if k in new]
                assert list(new)[: len(kept)] == kept
                assert [k for k in new if k not in old] == [k for k in keys if k not in old]


@given(HISTORY)
def test_facts_are_those_of_asking_anew(history: list[tuple[int, Any]]) -> None:
    def odd(o: Object) -> int | None:
        value: int = o.raw["data"]["v"]
        return value if value % 2 else None

    facts = Facts()
    for version in grown(history):
        expected = {k: answer for k, o in version.items() if (answer := odd(o)) is not None}
        found = facts.of(KIND, version, odd)
        assert list(found.items()) == list(expected.items())
        assert facts.of(KIND, version, odd) is found


def test_old_versions_are_forgotten() -> None:
    version = first = Version()
    for number in range(200):
        version = version.next()
        version.write(key(f"n{number}"), obj("n", number))
    steps, step = 0, version._step
    while step is not None:
        steps, step = steps + 1, step.before
    assert steps < 100
    assert len(changed_keys(first, version)) == 200, "they are compared then"
