"""Amounts of resources: apimachinery's `resource.Quantity`, exact, and written in its canonical form."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_DECIMAL = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"]
_BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
_TEXT = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([a-zA-Z]*)([+-]?[0-9]*)")


_LONGEST, _EXPONENT = 100, 3
"""Characters of a number and of an exponent that are looked at: manifests may say numbers that nobody works out, and
an API server takes those beyond 63 bits for the largest one."""


class Quantity(NamedTuple):
    value: Fraction
    is_binary: bool = False  # it is written with Ki, Mi, …

    def __add__(self, other: object) -> Quantity:
        """The sum, written as what isn't nothing of both is."""
        assert isinstance(other, Quantity)
        return Quantity(self.value + other.value, self.is_binary if self.value else other.is_binary)

    def __str__(self) -> str:
        if self.is_binary and (self.value.denominator == 1) and not 0 < abs(self.value) < 1024:
            return _with_suffix(self.value, _BINARY, 1024, 0)
        value = Fraction(-(-self.value * 10**9 // 1), 10**9)  # what is finer is rounded up
        return _with_suffix(value, _DECIMAL, 1000, 3)


NOTHING = Quantity(Fraction(0))


def _with_suffix(value: Fraction, suffixes: list[str], base: int, plain: int) -> str:
    """With the largest suffix with which it is a whole number."""
    if not value:
        return "0"
    for index in reversed(range(len(suffixes))):
        scaled = value / Fraction(base) ** (index - plain)
        if scaled.denominator == 1:
            return f"{scaled.numerator}{suffixes[index]}"
    raise AssertionError("it was rounded to what the smallest suffix can say")


def parse_quantity(given: object) -> Quantity:
    """The quantity of a text or number that has passed its check."""
    match = _TEXT.fullmatch(str(given))
    if match is None:
        return NOTHING
    number, suffix, exponent = match[1][:_LONGEST], match[2], match[3]
    if suffix in ("e", "E") and exponent:
        far = -_LONGEST if exponent[0] == "-" else _LONGEST
        tens = int(exponent) if len(exponent) <= _EXPONENT else far
        return Quantity(Fraction(number) * Fraction(10) ** tens)
    if suffix in _BINARY[1:]:
        return Quantity(Fraction(number) * 1024 ** _BINARY.index(suffix), True)
    power = _DECIMAL.index(suffix) - 3 if suffix in _DECIMAL else 0
    return Quantity(Fraction(number) * Fraction(1000) ** power)


def count(number: int) -> Quantity:
    return Quantity(Fraction(number))
