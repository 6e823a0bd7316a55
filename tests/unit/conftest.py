"""What holds for all tests without packets of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import examples  # noqa: F401  chooses Hypothesis's settings
import loopback
import pytest


@pytest.fixture(autouse=True)
def ports() -> Iterator[None]:
    """Gives back the ports that a test held."""
    yield
    loopback.give_back()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out, for an ordinary user, the tests of what only root can do: be several users, say."""
    if os.geteuid() != 0:
        roots = [item for item in items if item.get_closest_marker("root")]
        config.hook.pytest_deselected(items=roots)
        items[:] = [item for item in items if item not in roots]
