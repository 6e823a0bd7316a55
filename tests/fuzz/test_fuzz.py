"""Each fuzzer, for as many inputs as a test has time for, always the same ones."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from random import Random

import pytest

from . import TARGETS

SEED = 9
COUNT = 300
FEWER = {"dns": 80}
"""Of a target whose inputs are large: bursts of messages of up to 64 KiB."""


def at_most(count: int) -> Callable[[], bool]:
    """What says `count` times that it goes on."""
    left = iter(range(count))
    return lambda: next(left, None) is not None


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_fuzz(target: str) -> None:
    count = FEWER.get(target, COUNT)
    assert import_module(TARGETS[target]).run(Random(SEED), at_most(count)) >= count
