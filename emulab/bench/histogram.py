"""Counts of values by the method of HdrHistogram (Gil Tene): a bounded relative error, over any range. Pure.

Below 2048 each value has a count of its own; above, each doubling of the values is divided into 1024. So a value is
known to a thousandth, and a histogram of hours in microseconds has some twenty thousand counts at the most. Nothing
but the standard library is imported here: who asks in a lab counts with it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_BITS = 11


def index_of(value: int) -> int:
    """Which count a value belongs to."""
    shift = max(0, value.bit_length() - _BITS)
    return (shift << (_BITS - 1)) + (value >> shift)


def lowest(index: int) -> int:
    """The lowest value of a count."""
    shift = max(0, (index >> (_BITS - 1)) - 1)
    return (index - (shift << (_BITS - 1))) << shift


def highest(index: int) -> int:
    """The highest value of a count."""
    return lowest(index + 1) - 1


class HdrHistogram:
    """Whole numbers from 0 on, microseconds say."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def __len__(self) -> int:
        return sum(self.counts.values())

    def record(self, value: int, count: int = 1) -> None:
        """Counts a value."""
        index = index_of(value)
        self.counts[index] = self.counts.get(index, 0) + count

    def add(self, other: HdrHistogram) -> None:
        """Counts all that another one has."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def percentile(self, percent: float) -> int:
        """The value that this percentage of all doesn't exceed; 0 without any value."""
        left = max(1.0, len(self) * percent / 100)
        for index, count in sorted(self.counts.items()):
            left -= count
            if left <= 1e-9:
                return highest(index)
        return highest(max(self.counts)) if self.counts else 0

    @property
    def mean(self) -> float:
        """The mean, 0 without any value."""
        total = sum((lowest(i) + highest(i)) / 2 * count for i, count in self.counts.items())
        return total / len(self) if self.counts else 0.0

    def steps(self) -> Iterator[tuple[int, float]]:
        """Each value that there is, and the share of all that doesn't exceed it."""
        passed, total = 0, len(self)
        for index, count in sorted(self.counts.items()):
            passed += count
            yield highest(index), passed / total

    def to_json(self) -> dict[str, int]:
        """By the lowest value of each count."""
        return {str(lowest(index)): count for index, count in sorted(self.counts.items())}

    @staticmethod
    def of_json(told: Mapping[str, int]) -> HdrHistogram:
        """What `to_json` told."""
        return HdrHistogram({index_of(int(value)): count for value, count in told.items()})
