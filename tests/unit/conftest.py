"""What holds for all tests without packets of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import loopback
import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is up to the machine, which may have no time for us for a while, and says nothing of us.
# The examples are the same in every run, lest a change fails by what it has nothing to do with; whoever looks for
# new faults has others drawn by EMULAB_HYPOTHESIS=random.
settings.register_profile(
    "untimed",
    deadline=None,
    derandomize=os.environ.get("EMULAB_HYPOTHESIS") != "random",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def ports() -> Iterator[None]:
    """Gives back the ports that a test held."""
    yield
    loopback.give_back()
