"""A persistent mapping against plain copies of dicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.plan.persistent import Persistent

KEYS = "abcdef"
STEPS = st.lists(st.dictionaries(st.sampled_from(KEYS), st.none() | st.integers(0, 3)), max_size=6)


def step(state: dict[str, int], wanted: dict[str, int | None]) -> tuple[list[str], dict[str, int]]:
    """The keys that go (None) and those that come, some of them having been there."""
    removed = [key for key, value in wanted.items() if key in state and (value is None or value % 2)]
    return removed, {key: value for key, value in wanted.items() if value is not None}


@given(st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3)), STEPS, st.lists(st.integers(0, 6)))
def test_every_version_stays_what_it_was(
    start: dict[str, int], steps: list[dict[str, int | None]], looks: list[int]
) -> None:
    states, versions = [dict(start)], [Persistent(dict(start))]
    for wanted in steps:
        removed, added = step(states[-1], wanted)
        states.append({k: v for k, v in states[-1].items() if k not in removed} | added)
        versions.append(versions[-1].changed(removed, added))
    for i, older in enumerate(versions):
        for j in range(i, len(versions)):
            change = older.change_to(versions[j])
            assert change is not None
            rest = {k: v for k, v in states[i].items() if k not in change.removed}
            assert rest | change.added == states[j]
            assert all(states[i].get(k) != states[j].get(k) for k in (*change.removed, *change.added))
    for version, state in zip(versions, states, strict=True):
        assert {k: version[k] for k in KEYS if k in version} == state  # looked up through newer ones
        assert len(version) == len(state)
    for index in looks:  # to look at a whole old one makes it stand alone
        if index < len(versions):
            assert versions[index] == states[index] and len(versions[index]) == len(states[index])
    assert [dict(v) for v in versions] == states


def test_another_branch_is_no_newer_version() -> None:
    first = Persistent({"a": 1})
    second = first.changed((), {"b": 2})
    branch = first.changed(["a"], {"c": 3})
    assert (first, second, branch) == ({"a": 1}, {"a": 1, "b": 2}, {"c": 3})
    assert second.change_to(branch) is None and branch.change_to(first) is None
    assert first == Persistent({"a": 1}) and first != second and first != 1


def test_a_version_that_thousands_followed() -> None:
    versions = [Persistent({"a": 0})]
    for number in range(3000):
        versions.append(versions[-1].changed(["a"], {"a": number, "b": number}))
    assert len(versions[0]) == 1 and dict(versions[0]) == {"a": 0}
    assert versions[1000] == {"a": 999, "b": 999} and versions[-1]["a"] == 2999


def test_what_is_not_there_cannot_be_removed() -> None:
    version = Persistent({"a": 1, "b": 2})
    with pytest.raises(KeyError):
        version.changed(["a", "c"], {})
    assert version == {"a": 1, "b": 2}
