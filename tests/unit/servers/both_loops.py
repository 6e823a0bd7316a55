"""Tests that run on asyncio's loop and on uvloop's."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def run_on(loop: str, work: Awaitable[None]) -> None:
    """Runs `work` on a loop of its own, for five minutes at most."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(work, 300))


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test on either loop."""

    @pytest.mark.parametrize("loop", LOOPS)
    @functools.wraps(test)
    def run(loop: str, **arguments: Any) -> None:
        run_on(loop, test(**arguments))

    own = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([own, *inspect.signature(test).parameters.values()])  # type: ignore[attr-defined]
    return run
