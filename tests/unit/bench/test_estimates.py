"""Intervals hold what they promise, on samples that are drawn from what is known."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from statistics import fmean

import pytest

from emulab.bench.estimates import (
    Estimate,
    change,
    difference,
    estimate,
    joint,
    midmean,
    ratio,
    student,
)

TIMES = 200


def _disturbed(draw: Random) -> float:
    """A round in five is disturbed by somebody else's work."""
    return draw.gauss(100, 5) if draw.random() < 0.8 else draw.gauss(100, 60)


DRAWN: dict[str, Callable[[Random], float]] = {
    "bell": lambda draw: draw.gauss(100, 10),
    "disturbed": _disturbed,
    "even": lambda draw: draw.uniform(50, 150),
}


@pytest.mark.parametrize("rounds", [4, 15])
@pytest.mark.parametrize("kind", DRAWN)
def test_the_true_value_is_within_as_often_as_is_said(kind: str, rounds: int) -> None:
    draw, within = Random(rounds), 0
    for seed in range(TIMES):
        found = estimate([DRAWN[kind](draw) for _ in range(rounds)], seed=seed)
        within += not found.apart_from(100)
    assert within / TIMES >= 0.96  # 99 % are promised; some of it may be chance


def test_an_interval_gets_narrower_with_the_rounds() -> None:
    draw = Random(1)
    values = [draw.gauss(100, 10) for _ in range(200)]
    halves = [estimate(values[:n]).half for n in (5, 12, 50, 200)]
    assert halves == sorted(halves, reverse=True) and halves[-1] < 3


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0.0, 0.04), (20.0, 0.95, 1.0)])
def test_a_difference_is_told_where_there_is_one_and_hardly_ever_else(
    shift: float, least: float, most: float
) -> None:
    """Both of a round are shifted by the same wave, far larger than the difference."""
    draw, told = Random(7), 0
    for seed in range(TIMES):
        waves = [draw.gauss(500, 200) for _ in range(15)]
        below = [wave + draw.gauss(0, 10) for wave in waves]
        above = [wave + shift + draw.gauss(0, 10) for wave in waves]
        told += difference(above, below, seed=seed).told
    assert least <= told / TIMES <= most


def test_what_disturbs_a_few_rounds_moves_little() -> None:
    calm = [100.0 + n % 3 for n in range(16)]
    assert abs(midmean([*calm, 90_000.0, 80_000.0]) - midmean(calm)) < 1
    assert midmean([5.0]) == 5.0 and midmean([1.0, 3.0]) == 2.0 and midmean([0.0, 1.0, 3.0, 900.0]) == 2.0


def test_few_values_have_no_interval() -> None:
    for values in ([3.0], [1.0, 2.0, 3.0]):
        found = estimate(values)
        assert found == Estimate(fmean(values)) and not found.told and found.half == float("inf")
    with pytest.raises(ValueError, match="nothing was measured"):
        estimate([])


def test_ratios_are_alike_both_ways_round() -> None:
    draw = Random(3)
    one = [draw.uniform(50, 200) for _ in range(20)]
    two = [value * draw.uniform(1.8, 2.2) for value in one]
    up, down = ratio(two, one), ratio(one, two)
    assert up.low and up.high and down.low and down.high
    assert abs(up.value * down.value - 1) < 1e-9 and abs(up.low * down.high - 1) < 1e-9
    assert 1.8 < up.low < up.value < up.high < 2.2 and up.apart_from(1.0)


def test_two_runs_are_compared_without_rounds_in_common() -> None:
    draw = Random(5)
    old = [draw.gauss(100, 4) for _ in range(12)]
    same = [draw.gauss(100, 4) for _ in range(30)]
    slower = [draw.gauss(120, 4) for _ in range(8)]
    assert not change(same, old).apart_from(1.0)
    worse = change(slower, old)
    assert worse.low is not None and 1.1 < worse.low < 1.2 < (worse.high or 0)


def test_a_statistic_of_several_samples_keeps_rounds_together() -> None:
    """The first column and its opposite cancel in each round, so their sum has no spread at all."""
    draw = Random(2)
    one = [draw.gauss(0, 50) for _ in range(20)]
    found = joint([one, [-v for v in one]], lambda columns: fmean(columns[0]) + fmean(columns[1]))
    assert abs(found.value) < 1e-9 and found.half < 1e-9


@pytest.mark.parametrize(
    ("level", "degrees", "value"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.3027),
        (0.99, 4, 4.6041),
        (0.99, 10, 3.1693),
        (0.99, 31, 2.7440),
        (0.9, 3, 2.3534),
    ],
)
def test_students_t_is_that_of_the_tables(level: float, degrees: int, value: float) -> None:
    assert abs(student(level, degrees) - value) < 2e-4
