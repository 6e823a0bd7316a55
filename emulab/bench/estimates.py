"""Estimates with their intervals, by the bootstrap. Pure.

A sample is a value of each round. Its place is the midmean, the mean of the middle half, which what disturbs a few
rounds doesn't move. An interval is the midmean ± t · s, where s is its standard error by the bootstrap (Efron 1979), of
n values times √(n / (n - 1)), and t Student's for n - 1 degrees of freedom: of few rounds it is wide, as it should be.
(A test draws samples, and counts how often the true value is within.) Differences and ratios are of the two values of
one round: what disturbs a round disturbs both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import atan, cos, exp, log, pi, sin, sqrt
from random import Random
from statistics import fmean, stdev
from typing import NamedTuple

LEVEL = 0.99
"""Of intervals: a report has some dozens of them."""
LEAST = 4
"""Values that an interval needs: the middle half of fewer has no spread."""
RESAMPLES = 200
_LARGEST = 20.0  # of a logarithm that is told

RoundValues = Sequence[float]


class Estimate(NamedTuple):
    """A value, and the interval in which it surely is; None where there are too few values to say."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2 if self.low is not None and self.high is not None else float("inf")

    def apart_from(self, value: float) -> bool:
        """Whether it surely is another one."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high

    @property
    def told(self) -> bool:
        """Whether a difference can be told from noise: whether it surely isn't 0."""
        return self.apart_from(0.0)

    def overlaps(self, other: Estimate) -> bool:
        """Whether there is a value that both may have."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return True
        return self.low <= other.high and other.low <= self.high


def midmean(values: RoundValues) -> float:
    """The mean of the middle half: of four values the middle two."""
    ordered, cut = sorted(values), len(values) // 4
    return fmean(ordered[cut : len(ordered) - cut])


def estimate(values: RoundValues, level: float = LEVEL, seed: int = 0) -> Estimate:
    """The midmean with its interval."""
    return joint([values], lambda columns: midmean(columns[0]), level, seed)


def difference(above: RoundValues, below: RoundValues, level: float = LEVEL, seed: int = 0) -> Estimate:
    """By how much one is above the other, of the rounds that both have."""
    return estimate([a - b for a, b in zip(above, below, strict=False)], level, seed)


def ratio(above: RoundValues, below: RoundValues, level: float = LEVEL, seed: int = 0) -> Estimate:
    """One divided by the other, of the rounds that both have: of the logarithms, in which twice and half are alike."""
    logs = [log(a / b) for a, b in zip(above, below, strict=False) if a > 0 and b > 0]
    return _exponential(estimate(logs, level, seed))


def joint(
    columns: Sequence[RoundValues],
    statistic: Callable[[Sequence[RoundValues]], float],
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """A statistic of several samples of the same rounds: rounds are drawn, each with all that it has."""
    rounds = min(map(len, columns))
    if not rounds:
        raise ValueError("nothing was measured")
    value = statistic([column[:rounds] for column in columns])
    if rounds < LEAST:
        return Estimate(value)
    draw = Random(seed)
    drawn = []
    for _ in range(RESAMPLES):
        picked = draw.choices(range(rounds), k=rounds)
        drawn.append(statistic([[column[i] for i in picked] for column in columns]))
    half = student(level, rounds - 1) * stdev(drawn) * sqrt(rounds / (rounds - 1))
    return Estimate(value, value - half, value + half)


def change(new: RoundValues, old: RoundValues, level: float = LEVEL) -> Estimate:
    """`new` divided by `old`, two samples of different rounds: of two runs, say."""
    one, other = (estimate([log(v) for v in values if v > 0], level) for values in (new, old))
    value = one.value - other.value
    half = sqrt(one.half**2 + other.half**2)
    bounded = half < float("inf")
    return _exponential(Estimate(value, value - half, value + half) if bounded else Estimate(value))


def _exponential(of: Estimate) -> Estimate:
    """Bounded, as an interval of logarithms may be that of three values."""
    low, high = (None if v is None else exp(max(-_LARGEST, min(_LARGEST, v))) for v in (of.low, of.high))
    return Estimate(exp(of.value), low, high)


@lru_cache(maxsize=256)
def student(level: float, degrees: int) -> float:
    """Within ± how many standard errors Student's t is with this probability."""
    low, high = 0.0, 1.0
    while _within(high, degrees) < level:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return high


def _within(t: float, degrees: int) -> float:
    """The probability that Student's t is between -t and t (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(degrees))
    square = cos(angle) ** 2
    term = total = 1.0 if degrees % 2 == 0 else cos(angle)
    for k in range(2 if degrees % 2 == 0 else 3, degrees - 1, 2):
        term *= square * (k - 1) / k
        total += term
    if degrees % 2 == 0:
        return sin(angle) * total
    return 2 / pi * (angle + (sin(angle) * total if degrees > 1 else 0.0))


def by_name(samples: Mapping[str, RoundValues]) -> dict[str, Estimate]:
    """The estimate of each sample that has values."""
    return {name: estimate(values) for name, values in samples.items() if values}
