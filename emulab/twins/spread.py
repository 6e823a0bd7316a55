"""What may be chance: chi-square tests, and the rule for what was seen in one place only. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erfc, exp, pi, sqrt

SUSPICIOUS = 0.01
"""Below this a spread is looked at again, with more connections: among many requests it does come by chance."""

CERTAIN = 1e-5
"""Below this it is no chance."""

ABSENT = 1e-4
"""What this many tries would have missed with a smaller probability isn't there."""

Tally = Mapping[str, int]


def tail(statistic: float, freedom: int) -> float:
    """How likely a chi-square variable of so many degrees of freedom is as large as this, or larger."""
    if freedom <= 0 or statistic <= 0:
        return 1.0
    half = statistic / 2
    if freedom % 2:
        total, term = erfc(sqrt(half)), sqrt(statistic) * exp(-half) * sqrt(2 / pi)
        for k in range(3, freedom + 1, 2):
            total += term
            term *= statistic / k
        return min(total, 1.0)
    total = term = exp(-half)
    for k in range(1, freedom // 2):
        term *= half / k
        total += term
    return min(total, 1.0)


def uniform(counts: Tally) -> float:
    """How likely equally likely choices are spread as unevenly as this."""
    number, size = sum(counts.values()), len(counts)
    if size < 2:
        return 1.0
    mean = number / size
    return tail(sum((n - mean) ** 2 / mean for n in counts.values()), size - 1)


def same(samples: Sequence[Tally]) -> float:
    """How likely samples of one and the same distribution differ as much as these (homogeneity)."""
    filled = [s for s in samples if sum(s.values())]
    names = {name for s in filled for name in s}
    total = sum(sum(s.values()) for s in filled)
    statistic = 0.0
    for name in names:
        share = sum(s.get(name, 0) for s in filled) / total
        for s in filled:
            mean = share * sum(s.values())
            statistic += (s.get(name, 0) - mean) ** 2 / mean
    return tail(statistic, (len(names) - 1) * (len(filled) - 1))


def in_turn(counts: Tally) -> bool:
    """Whether everybody got his share to within one, which chance hardly ever does."""
    return len(counts) > 1 and max(counts.values()) - min(counts.values()) <= 1


def surely_absent(one: Tally, other: Tally) -> list[str]:
    """What `one` has that `other` would have too if they were alike: seen so often that it's no chance."""
    number, tries = sum(one.values()), sum(other.values())
    return [
        name for name, n in one.items() if n and not other.get(name) and (1 - n / number) ** tries < ABSENT
    ]


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of all lies (the nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
