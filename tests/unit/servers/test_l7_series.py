"""Counting of requests by series."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.l7.engine.entry import UNKNOWN
from emulab.servers.l7.personalities.ingress_nginx.series import (
    FEW,
    FIRST,
    VALUES,
    RequestSeries,
    layout_of,
)

BOUNDS = ((0.1, 1.0, 10.0), (5.0,), (2.0, 4.0))
LAYOUT = layout_of(list(enumerate(BOUNDS)))
Row = tuple[Any, ...]

values = st.sampled_from([UNKNOWN, 0.0, 0.1, 0.5, 1.0, 3.0, 5.0, 11.0])
rows = st.lists(st.tuples(*[st.just("")] * FIRST, *[values] * VALUES), min_size=1, max_size=3 * FEW)


@given(batches=st.lists(rows, max_size=9))
def test_rows_are_in_their_buckets(batches: list[list[Row]]) -> None:
    one = RequestSeries(LAYOUT)
    for batch in batches:
        one.take(batch)
    figures, expected = one.figures(), []
    taken = [row for batch in batches for row in batch]
    for place, bounds in enumerate(BOUNDS):
        known = [row[FIRST + place] for row in taken if row[FIRST + place] != UNKNOWN]
        found = [bisect_left(bounds, value) for value in known]
        expected += [found.count(bucket) for bucket in range(len(bounds) + 1)]
        assert figures.sums[place] == pytest.approx(sum(known))
    assert (figures.requests, figures.counts) == (len(taken), expected)
    assert one.figures() == figures
