"""What holds for all tests without packets of their own."""

from __future__ import annotations

from collections.abc import Iterator

import examples  # noqa: F401  chooses Hypothesis's settings
import loopback
import pytest


@pytest.fixture(autouse=True)
def ports() -> Iterator[None]:
    """Gives back the ports that a test held."""
    yield
    loopback.give_back()
