"""Measures by turns, round after round, until that is enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from emulab.bench.estimates import LEAST
from emulab.bench.measures import ALL, KINDS, WayFigures
from emulab.bench.turns import TurnPace, TurnVerdict, order, verdict
from emulab.errors import EmulabError, UserError

WaySamples = dict[str, dict[str, dict[str, list[float]]]]
"""By subject, way and measure, the values of the rounds."""

TRIES = 30.0  # seconds until a way must be open: a balancer asks first whether somebody is there
_PAUSE = 0.2
_TIMES = 5  # that an order is given, while its requests fail
_LOOK = 4  # rounds from one look at the intervals to the next


class MeasuredWay(NamedTuple):
    """What is measured: `ask` of a kind of orders and so many seconds."""

    subject: str
    name: str
    ask: Callable[[str, float], Awaitable[WayFigures]]
    kinds: tuple[str, ...] = ALL


class TurnSchedule(NamedTuple):
    """How long it may take. `ends`: when the last round must be over, by the monotonic clock."""

    seconds: float = 0.12  # of each order
    pace: TurnPace = TurnPace()
    ends: float = float("inf")


class MeasuredRounds(NamedTuple):
    samples: WaySamples
    rounds: int
    seconds: float
    verdict: TurnVerdict
    repeated: Sequence[str] = ()

    @property
    def notes(self) -> list[str]:
        """What is to be said of orders that were given again."""
        if not self.repeated:
            return []
        times = "1 measurement was" if len(self.repeated) == 1 else f"{len(self.repeated)} measurements were"
        return [f"{times} taken again, as requests failed: {self.repeated[0]}"]


Halves = Callable[[WaySamples], tuple[list[tuple[str, float]], float]]
"""What must be known well: by name half of its interval's width, and the whole that this is a part of."""
TellProgress = Callable[[str, float], None]
"""Told what is done, and which share of all is."""


async def by_turns(
    ways: Sequence[MeasuredWay], schedule: TurnSchedule, halves: Halves, tell: TellProgress, seed: int
) -> MeasuredRounds:
    """Measures each way in each round. Raises EmulabError when a way doesn't answer."""
    await _opened(ways, tell)
    samples: WaySamples = {}
    repeated: list[str] = []
    begun, number, found = time.monotonic(), 0, None
    pace = schedule.pace._replace(limit=min(schedule.pace.limit, schedule.ends - begun))
    while found is None:
        turns = [(way, kind) for way in ways for kind in way.kinds if KINDS[kind].is_due(number)]
        for done, (way, kind) in enumerate(order(turns, number, seed)):
            share = (number + done / len(turns)) / pace.most
            tell(f"round {number + 1}: {way.name}", max(share, (time.monotonic() - begun) / pace.limit))
            figures = await _asked(way, kind, schedule.seconds, repeated)
            there = samples.setdefault(way.subject, {}).setdefault(way.name, {})
            for name, value in figures.items():
                there.setdefault(name, []).append(value)
        number += 1
        known, whole = halves(samples) if number % _LOOK == 0 else ([("", float("inf"))], 0.0)
        found = verdict(pace, number, time.monotonic() - begun, known, whole)
        if found is not None and number < LEAST:  # fewer have no intervals: late is better than never
            found = None
    known, whole = halves(samples)
    last = verdict(pace._replace(most=number), number, 0.0, known, whole)
    wide = last.wide if last else ()
    return MeasuredRounds(
        samples, number, time.monotonic() - begun, found._replace(wide=wide), tuple(repeated)
    )


async def _asked(way: MeasuredWay, kind: str, seconds: float, repeated: list[str]) -> WayFigures:
    """The figures of one order. Where requests fail it is given again: a late health check may have closed a way."""
    for left in reversed(range(_TIMES)):
        try:
            return await way.ask(kind, seconds)
        except UserError as error:
            if not left:
                raise UserError(f"{way.subject}, {way.name}: {error}") from None
            repeated.append(f"{way.name}: {error}")
        except EmulabError as error:
            raise type(error)(f"{way.subject}, {way.name}: {error}") from None
        except TimeoutError:
            raise EmulabError(f"{way.subject}, {way.name}: whoever asks hasn't answered in time") from None
        await asyncio.sleep(_PAUSE)
    raise AssertionError("the last time returns or raises")


async def _opened(ways: Sequence[MeasuredWay], tell: TellProgress) -> None:
    """Waits until each way answers: what a first request costs more isn't measured, either."""
    end = time.monotonic() + TRIES
    for way in ways:
        tell(f"trying {way.name}", 0.0)
        while True:
            try:
                for kind in way.kinds:
                    await way.ask(kind, 0.01)
                break
            except UserError as error:
                if time.monotonic() > end:
                    raise UserError(f"{way.subject}, {way.name}: {error}") from None
            except TimeoutError:
                raise EmulabError(
                    f"{way.subject}, {way.name}: whoever asks hasn't answered in time"
                ) from None
            await asyncio.sleep(_PAUSE)


def of_way(samples: WaySamples, subject: str, way: str) -> Mapping[str, list[float]]:
    """The samples of one way, by measure."""
    return samples.get(subject, {}).get(way, {})
