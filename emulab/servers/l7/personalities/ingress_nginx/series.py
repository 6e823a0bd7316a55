"""How often requests that have all labels in common took how long, and were how large. Pure.

All histograms of a series are one array of buckets and one of sums: there may be ten thousand series, of which each
request needs another, and an object a histogram would cost more to fetch into the processor than to count in.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

from emulab.servers.exposition import Histogram, Labels, together
from emulab.servers.l7.engine.entry import UNKNOWN, Measured
from emulab.servers.l7.personalities.figures import SeriesFigures

FEW = 4
"""Rows of a series that are counted along with those of others: fewer than it is worth to sort by their columns."""
FIRST = 5
"""The first value of a row, after what it is counted by."""

SeriesLayout = tuple[tuple[int, tuple[float, ...], int], ...]
"""Of each histogram its first bucket, its bounds, and which of a row's values it takes."""


def layout_of(histograms: Sequence[tuple[int, tuple[float, ...]]]) -> SeriesLayout:
    """The layout of histograms by which of the values after `FIRST` they take, and their bounds."""
    places, bucket = [], 0
    for value, bounds in histograms:
        places.append((bucket, bounds, FIRST + value))
        bucket += len(bounds) + 1
    return tuple(places)


class RequestSeries:
    """The samples of requests that have all labels in common."""

    __slots__ = ("_counts", "_sums", "layout", "requests", "waiting")

    def __init__(self, layout: SeriesLayout) -> None:
        self.layout = layout
        self._counts = array("Q", bytes(8 * sum(len(bounds) + 1 for _, bounds, _ in layout)))
        self._sums = array("d", bytes(8 * len(layout)))
        self.requests = 0
        self.waiting: list[Measured] = []  # rows that aren't counted yet

    def count(self) -> None:
        """Takes what waits."""
        rows, self.waiting = self.waiting, []
        self.requests += len(rows)
        counts, sums = self._counts, self._sums
        columns = tuple(zip(*rows, strict=True))
        for index, (first, bounds, place) in enumerate(self.layout):
            column = columns[place]
            known = [one for one in column if one != UNKNOWN] if UNKNOWN in column else column
            sums[index] += sum(known)
            for bucket, number in together(bounds, known):
                counts[first + bucket] += number

    def take(self, buckets: Sequence[int], values: Sequence[float]) -> None:
        """Takes one row: the buckets that it is in, and what is added up."""
        counts, sums = self._counts, self._sums
        for bucket in buckets:
            counts[bucket] += 1
        for index, value in enumerate(values):
            sums[index] += value

    def figures(self) -> SeriesFigures:
        """What was counted."""
        return SeriesFigures(self.requests, self._counts.tolist(), self._sums.tolist())


def count_together(several: Sequence[RequestSeries]) -> None:
    """Takes what waits of many series that have one layout, each of them few rows."""
    owners: list[RequestSeries] = []
    rows: list[tuple[Any, ...]] = []
    for one in several:
        one.requests += len(one.waiting)
        owners += [one] * len(one.waiting)
        rows += one.waiting
        one.waiting = []
    columns = tuple(zip(*rows, strict=True))
    layout = several[0].layout
    values = [columns[place] for _, _, place in layout]
    if any(UNKNOWN in column for column in values):
        for one, row in zip(owners, rows, strict=True):
            known = [(first, bounds, row[place]) for first, bounds, place in layout if row[place] != UNKNOWN]
            there = [first + bisect_left(bounds, value) for first, bounds, value in known]
            one.take(there, [max(row[place], 0) for _, _, place in layout])
        return
    found = [
        [first + bucket for bucket in map(bisect_left, repeat(bounds), column)]
        for (first, bounds, _), column in zip(layout, values, strict=True)
    ]
    for one, buckets, added in zip(owners, zip(*found, strict=True), zip(*values, strict=True), strict=True):
        one.take(buckets, added)


def lines_of(
    layout: SeriesLayout, figures: SeriesFigures, which: int, name: str, labels: Labels
) -> Iterator[str]:
    """The samples of one of a series' histograms."""
    first, bounds, _ = layout[which]
    histogram = Histogram(bounds)
    histogram.counts = figures.counts[first : first + len(bounds) + 1]
    histogram.sum = figures.sums[which]
    return histogram.lines(name, labels)
