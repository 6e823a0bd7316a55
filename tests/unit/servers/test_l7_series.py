"""Counting of requests by series: each way of counting comes to the same."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.l7.engine.entry import UNKNOWN
from emulab.servers.l7.personalities.ingress_nginx.series import (
    FIRST,
    RequestSeries,
    count_together,
    layout_of,
)

BOUNDS = ((0.1, 1.0, 10.0), (5.0,), (2.0, 4.0))
LAYOUT = layout_of(list(enumerate(BOUNDS)))
Row = tuple[Any, ...]

values = st.sampled_from([UNKNOWN, 0.0, 0.1, 0.5, 1.0, 3.0, 5.0, 11.0])
rows = st.lists(st.tuples(*[st.just("")] * FIRST, *[values] * len(BOUNDS)), min_size=1, max_size=9)


def one_by_one(series: Sequence[RequestSeries]) -> None:
    for one in series:
        one.count()


@pytest.mark.parametrize("count", [one_by_one, count_together])
@given(several=st.lists(rows, min_size=1, max_size=4))
def test_rows_are_in_their_buckets(
    count: Callable[[Sequence[RequestSeries]], None], several: list[list[Row]]
) -> None:
    series = [RequestSeries(LAYOUT) for _ in several]
    for one, waiting in zip(series, several, strict=True):
        one.waiting = list(waiting)
    count(series)
    for one, waiting in zip(series, several, strict=True):
        figures, expected = one.figures(), []
        for place, bounds in enumerate(BOUNDS):
            known = [row[FIRST + place] for row in waiting if row[FIRST + place] != UNKNOWN]
            found = [bisect_left(bounds, value) for value in known]
            expected += [found.count(bucket) for bucket in range(len(bounds) + 1)]
            assert figures.sums[place] == pytest.approx(sum(known))
        assert (figures.requests, figures.counts) == (len(waiting), expected)
        assert not one.waiting
