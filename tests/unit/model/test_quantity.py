"""Quantities: what texts mean, sums, and the canonical form."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from emulab.model.quantity import NOTHING, parse_quantity


@pytest.mark.parametrize(
    ("given", "value", "text"),
    [
        ("100m", Fraction(1, 10), "100m"),
        ("0.5", Fraction(1, 2), "500m"),
        (2, Fraction(2), "2"),
        ("1000m", Fraction(1), "1"),
        ("1500", Fraction(1500), "1500"),
        ("2000", Fraction(2000), "2k"),
        ("1Gi", Fraction(1 << 30), "1Gi"),
        ("1024Mi", Fraction(1 << 30), "1Gi"),
        ("1.5Gi", Fraction(3 << 29), "1536Mi"),
        ("128974848", Fraction(128974848), "128974848"),
        ("1e3", Fraction(1000), "1k"),
        ("400M", Fraction(400_000_000), "400M"),
        ("0.5Ki", Fraction(512), "512"),
        ("0", Fraction(0), "0"),
        ("-1", Fraction(-1), "-1"),
        ("+.5", Fraction(1, 2), "500m"),
        ("0.0000000001", Fraction(1, 10**10), "1n"),
        ("100n", Fraction(1, 10**7), "100n"),
    ],
)
def test_what_it_is_and_how_it_is_written(given: Any, value: Fraction, text: str) -> None:
    quantity = parse_quantity(given)
    assert (quantity.value, str(quantity)) == (value, text)


def test_sums_are_written_as_the_first_that_is_something() -> None:
    assert str(parse_quantity("512Mi") + parse_quantity("1.5Gi")) == "2Gi"
    assert str(NOTHING + parse_quantity("1Gi")) == "1Gi"
    assert str(parse_quantity("100m") + parse_quantity("900m")) == "1"


@pytest.mark.parametrize("text", ["1e99999999", "1E+999", "9" * 5000, f"1e{'9' * 5000}"])
def test_amounts_that_nobody_works_out_are_large(text: str) -> None:
    assert parse_quantity(text).value > 1 << 63
    assert parse_quantity(f"-{text}").value < -(1 << 63)


def test_amounts_may_be_as_good_as_nothing() -> None:
    assert 0 < parse_quantity("1e-99999999").value < parse_quantity("1n").value
