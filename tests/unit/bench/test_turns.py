"""The order of rounds, when it is enough, and when requests are due."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from statistics import fmean, pstdev

import pytest

from emulab.bench.arrivals import EVEN, POISSON, due
from emulab.bench.measures import KINDS
from emulab.bench.turns import TurnPace, order, verdict

WAYS = ["a", "b", "c", "d"]


def test_each_round_has_all_in_an_order_of_its_own() -> None:
    rounds = [order(WAYS, number, seed=4) for number in range(200)]
    assert all(sorted(one) == WAYS for one in rounds)
    assert rounds == [order(WAYS, number, seed=4) for number in range(200)]  # a seed draws the same again
    assert rounds != [order(WAYS, number, seed=5) for number in range(200)]
    for place in range(4):  # nobody is always the first one, or behind somebody
        assert min(Counter(one[place] for one in rounds).values()) > 25
    assert len(Counter(tuple(one) for one in rounds)) == 24


def test_it_is_enough_when_all_is_known_well() -> None:
    pace = TurnPace(least=5, most=50, limit=100.0, narrow=0.02, finest=0.5)
    assert verdict(pace, 5, 10.0, [("a", 1.9), ("b", 0.1)], 100.0) == ("narrow", ())
    assert verdict(pace, 4, 8.0, [("a", 0.1)], 100.0) is None  # too few rounds for that
    assert verdict(pace, 6, 12.0, [("a", 2.1), ("b", 0.1)], 100.0) is None
    assert verdict(pace, 50, 90.0, [("a", 2.1), ("b", 0.1)], 100.0) == ("rounds", ("a",))
    assert verdict(pace, 48, 99.0, [("a", 2.1), ("b", 0.1)], 100.0) == ("time", ("a",))
    assert verdict(pace, 6, 12.0, [("a", float("nan"))], 100.0) is None  # what isn't known isn't narrow
    assert verdict(pace, 6, 12.0, [("a", 0.4)], 1.0) == ("narrow", ())  # half a microsecond is fine enough


def test_rare_kinds_take_turns() -> None:
    """Every round has single requests and one kind more, and each kind comes as often as the others."""
    rounds = [[name for name, kind in KINDS.items() if kind.is_due(number)] for number in range(12)]
    assert all(len(one) == 2 and "single" in one for one in rounds)
    assert set(Counter(one[1] for one in rounds).values()) == {4}


@pytest.mark.parametrize("rate", [3.0, 250.0, 999.5])
def test_even_arrivals_do_not_drift(rate: float) -> None:
    times = list(due(rate, 10.0, EVEN))
    assert len(times) in (int(rate * 10), int(rate * 10) + 1)
    assert all(abs(at - number / rate) < 1e-9 for number, at in enumerate(times))


def test_independent_arrivals_are_as_many_and_as_uneven_as_they_should_be() -> None:
    times = list(due(500.0, 60.0, POISSON, seed=3))
    assert times == list(due(500.0, 60.0, POISSON, seed=3)) and all(0 <= at < 60 for at in times)
    assert abs(len(times) - 30_000) < 6 * 30_000**0.5
    gaps = [after - before for before, after in pairwise(times)]
    assert abs(pstdev(gaps) / fmean(gaps) - 1) < 0.05  # of an exponential distribution both are alike
