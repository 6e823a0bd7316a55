"""Waiting on a machine that may be slow, or have no time for us for a while."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

LONG = 60.0
"""Seconds after which we give up what should have come at once."""


async def soon(awaited: Awaitable[T]) -> T:
    """What comes of `awaited`, which may take its time but not for ever."""
    return await asyncio.wait_for(awaited, LONG)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so."""
    give_up = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < give_up, "it did not become true"
        await asyncio.sleep(0.001)


async def standstill(look: Callable[[], int]) -> None:
    """Waits until a number doesn't change any more.

    It must stay the same for many turns of the loop: when the machine halts us, time passes and nothing moves.
    """
    give_up = time.monotonic() + LONG
    seen, turns = look(), 0
    while turns < 20:
        assert time.monotonic() < give_up, "it goes on and on"
        await asyncio.sleep(0.01)
        before, seen = seen, look()
        turns = turns + 1 if seen == before else 0


class TooLate(Exception):
    """The machine kept a test from acting within the limit it was run with, so nothing is proven."""


@contextlib.contextmanager
def within(limit: float) -> Iterator[None]:
    """What fails in here after more than `limit` seconds fails by being too late."""
    begun = time.monotonic()
    try:
        yield
    except Exception as error:
        if time.monotonic() - begun > limit:
            raise TooLate from error
        raise


def patiently(*limits: float) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """Runs an async test with the first limit, and with the next one where that was `TooLate`."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(test)
        async def run(**arguments: Any) -> None:
            for limit in limits[:-1]:
                with contextlib.suppress(TooLate):
                    await test(limit, **arguments)
                    return
            await test(limits[-1], **arguments)

        _, *rest = inspect.signature(test).parameters.values()
        run.__signature__ = inspect.Signature(rest)  # type: ignore[attr-defined]
        return run

    return decorate
