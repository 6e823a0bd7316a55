"""How often requests that have all labels in common took how long, and were how large. Pure.

All histograms of a series are one array of buckets and one of sums: there may be ten thousand series, of which each
request needs another, and an object a histogram would cost more to fetch into the processor than to count in.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any

from emulab.servers.exposition import Histogram, Labels, together
from emulab.servers.l7.engine.entry import UNKNOWN
from emulab.servers.l7.personalities.figures import SeriesFigures

FIRST = 4
"""The first value of a row, after what it is counted by."""
VALUES = 6
"""Values of a row."""
FEW = 8
"""Rows that are fewer than it is worth to sort them by columns."""
_SOME, _MANY = 4, 32
"""Rows that a series has room to keep, at first and later: there may be thousands of series."""
_values = Struct(f"{VALUES}d")

SeriesLayout = tuple[tuple[int, tuple[float, ...], int], ...]
"""Of each histogram its first bucket, its bounds, and which of a row's values after `FIRST` it takes."""


def layout_of(histograms: Sequence[tuple[int, tuple[float, ...]]]) -> SeriesLayout:
    """The layout of histograms by which of a row's values they take, and their bounds."""
    places, bucket = [], 0
    for value, bounds in histograms:
        places.append((bucket, bounds, value))
        bucket += len(bounds) + 1
    return tuple(places)


class RequestSeries:
    """The samples of requests that have all labels in common.

    Rows are counted many at a time: to look into each of the histograms for each row costs several times as much. What
    has come of few is kept as numbers alone until there are many.
    """

    __slots__ = (
        *("_counts", "_kept", "_number", "_requests", "_room", "_sums"),
        *("layout", "rule", "status", "upstream"),
    )

    def __init__(self, layout: SeriesLayout) -> None:
        # Of which kind of requests a head has last remembered that they are counted here (`IngressMetrics`).
        self.status = 0
        self.upstream = ""
        self.rule: Any = None
        self._kept = array("d")  # values of rows that aren't counted yet, one row after the other
        self._number = self._room = 0  # of those rows, and of those that there is room for
        self.layout = layout
        self._counts = array("Q", bytes(8 * sum(len(bounds) + 1 for _, bounds, _ in layout)))
        self._sums = array("d", bytes(8 * len(layout)))
        self._requests = 0

    def take(self, rows: list[Any]) -> None:
        """Takes some rows: `Measured`, which machine code would look into for its type."""
        if len(rows) > FEW:
            self._count(len(rows), tuple(zip(*rows, strict=True))[FIRST:])
            return
        for row in rows:
            if self._number == self._room:
                self._make_room()
            _values.pack_into(self._kept, self._number * _values.size, *row[FIRST:])
            self._number += 1

    def _make_room(self) -> None:
        """For rows: a second time for all that are ever kept, so that an array is seldom moved."""
        if self._room == _MANY:
            self._count_kept()
        else:
            room = _MANY if self._room else _SOME
            self._kept.frombytes(bytes((room - self._room) * _values.size))
            self._room = room

    def _count_kept(self) -> None:
        number, self._number = self._number, 0
        kept = self._kept[: number * VALUES]
        self._count(number, [kept[place::VALUES].tolist() for place in range(VALUES)])

    def _count(self, requests: int, columns: Sequence[Sequence[float]]) -> None:
        counts, sums = self._counts, self._sums
        self._requests += requests
        for index, (first, bounds, place) in enumerate(self.layout):
            column = columns[place]
            known = [one for one in column if one != UNKNOWN] if UNKNOWN in column else column
            sums[index] += sum(known)
            for bucket, number in together(bounds, known):
                counts[first + bucket] += number

    def figures(self) -> SeriesFigures:
        """What was counted."""
        self._count_kept()
        return SeriesFigures(self._requests, self._counts.tolist(), self._sums.tolist())


def lines_of(
    layout: SeriesLayout, figures: SeriesFigures, which: int, name: str, labels: Labels
) -> Iterator[str]:
    """The samples of one of a series' histograms."""
    first, bounds, _ = layout[which]
    histogram = Histogram(bounds)
    histogram.counts = figures.counts[first : first + len(bounds) + 1]
    histogram.sum = figures.sums[which]
    return histogram.lines(name, labels)
