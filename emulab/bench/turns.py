"""In which order things are measured, and when that is enough. Pure.

All that is compared is measured in each round, in an order that a seed draws anew each time: what comes in waves, and
what one measurement leaves to the next, hits all of them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")


def order(things: Sequence[T], number: int, seed: int = 0) -> list[T]:
    """The things in the order of one round."""
    return Random(f"{seed}/{number}").sample(list(things), len(things))


class TurnPace(NamedTuple):
    """How long to measure."""

    least: int = 12  # rounds
    most: int = 400
    limit: float = 120.0  # seconds
    narrow: float = 0.02  # intervals are narrow enough at this share of the whole …
    finest: float = 0.5  # … or at so much, whatever the whole is: a unit's half


class TurnVerdict(NamedTuple):
    """Why no further round was begun."""

    why: str  # narrow | time | rounds
    wide: tuple[str, ...] = ()  # whose intervals were still too wide


def verdict(
    pace: TurnPace, rounds: int, elapsed: float, halves: Sequence[tuple[str, float]], whole: float
) -> TurnVerdict | None:
    """Whether it is enough. `elapsed`: seconds; `halves`: of what must be known well, half its interval's width."""
    bound = max(pace.finest, pace.narrow * whole)
    wide = tuple(name for name, half in halves if not half <= bound)
    if rounds >= pace.least and not wide:
        return TurnVerdict("narrow")
    if rounds and elapsed + elapsed / rounds > pace.limit:  # another one would be too late
        return TurnVerdict("time", wide)
    return TurnVerdict("rounds", wide) if rounds >= pace.most else None
