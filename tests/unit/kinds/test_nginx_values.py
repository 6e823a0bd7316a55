"""How ingress-nginx reads numbers of its settings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emulab.kinds.networking.nginxvalues import integer, seconds, size

LARGEST = (1 << 63) - 1


def test_numbers() -> None:
    assert (integer("+7"), seconds("0060"), size("8m")) == (7, 60.0, 8 << 20)
    assert integer("0" * 50 + str(LARGEST)) == LARGEST


@pytest.mark.parametrize("read", [integer, seconds, size])
@pytest.mark.parametrize("text", [str(LARGEST + 1), "9" * 400, "9" * 5000])
def test_numbers_that_no_int64_holds(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match=r"^is out of range$"):
        read(text)


@pytest.mark.parametrize("read", [integer, seconds, size])
def test_digits_of_other_scripts_are_no_digits(read: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"^is no "):
        read("\u0661\u0662")
