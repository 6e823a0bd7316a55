"""Tests run on uvloop's loop, as servers do."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop


def run_on_uvloop(work: Awaitable[None]) -> None:
    """Runs `work` on a loop of its own, for five minutes at most."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, 300))


def on_uvloop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """An async test that way."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        run_on_uvloop(test(**arguments))

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run
