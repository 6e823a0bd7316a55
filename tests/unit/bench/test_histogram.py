"""Counts by HdrHistogram's method: each value to a thousandth, and coordinated omission accounted for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emulab.bench.histogram import HdrHistogram, highest, index_of, lowest

VALUES = st.integers(0, 3_600_000_000)


@given(VALUES)
def test_a_value_is_known_to_a_thousandth(value: int) -> None:
    index = index_of(value)
    assert lowest(index) <= value <= highest(index)
    assert highest(index) - lowest(index) <= value / 1000
    assert index_of(lowest(index)) == index_of(highest(index)) == index


@given(st.integers(0, 50_000))
def test_counts_follow_each_other_without_gaps(index: int) -> None:
    assert lowest(index + 1) == highest(index) + 1


@given(st.lists(VALUES, min_size=1, max_size=200), st.floats(0, 100))
def test_percentiles_are_those_of_the_sorted_values(values: list[int], percent: float) -> None:
    counts = HdrHistogram()
    for value in values:
        counts.record(value)
    rank = max(1, -(-len(values) * percent // 100))
    true = sorted(values)[min(len(values), int(rank)) - 1]
    found = counts.percentile(percent)
    ordered = sorted(values)
    near = {
        ordered[max(0, ordered.index(true) - 1)],
        true,
        ordered[min(len(ordered) - 1, ordered.index(true) + 1)],
    }
    assert any(value <= found <= value * 1.001 + 1 for value in near)
    assert counts.percentile(100) >= max(values) and len(counts) == len(values)


@given(st.lists(VALUES, max_size=100), st.lists(VALUES, max_size=100))
def test_sums_and_documents_keep_all(one: list[int], two: list[int]) -> None:
    parts = [HdrHistogram(), HdrHistogram()]
    whole = HdrHistogram()
    for part, values in zip(parts, (one, two), strict=True):
        for value in values:
            part.record(value)
            whole.record(value)
    parts[0].add(parts[1])
    assert parts[0].counts == whole.counts == HdrHistogram.of_json(whole.to_json()).counts


def test_steps_rise_to_one() -> None:
    counts = HdrHistogram()
    for value in (1, 1, 500, 70_000):
        counts.record(value)
    assert [share for _, share in counts.steps()] == [0.5, 0.75, 1.0]
    assert HdrHistogram().percentile(99) == 0 and HdrHistogram().mean == 0.0
