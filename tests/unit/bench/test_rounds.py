"""Measuring by turns, of ways that answer at once: what is asked, what is asked again, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emulab.bench import rounds
from emulab.bench.measures import KINDS, WayFigures
from emulab.bench.rounds import MeasuredWay, TurnSchedule, by_turns
from emulab.bench.turns import TurnPace
from emulab.errors import EmulabError, UserError

SCHEDULE = TurnSchedule(0.001, TurnPace(least=6, most=12, limit=1000.0))


def way(name: str, answer: Callable[[str], Any] = lambda kind: 1.0) -> MeasuredWay:
    async def ask(kind: str, seconds: float) -> WayFigures:
        return {measure: answer(kind) for measure in KINDS[kind].measures}

    return MeasuredWay("lab", name, ask)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_PAUSE", 0.0)


async def measured(*ways: MeasuredWay, known: float = 0.0) -> rounds.MeasuredRounds:
    return await by_turns(ways, SCHEDULE, lambda _: ([("a", known)], 0.0), lambda *_: None, 1)


async def test_all_ways_have_as_many_values() -> None:
    found = await measured(way("a"), way("b"), known=float("inf"))
    assert (found.rounds, found.verdict.why, found.verdict.wide, found.notes) == (12, "rounds", ("a",), [])
    numbers = {name: {m: len(v) for m, v in ms.items()} for name, ms in found.samples["lab"].items()}
    assert numbers["a"] == numbers["b"] and numbers["a"]["p50"] == 12 and numbers["a"]["throughput"] == 4


async def test_it_ends_once_all_is_known() -> None:
    found = await measured(way("a"))
    assert found.rounds == 8 and found.verdict == ("narrow", ())  # the first look from six rounds on


async def test_what_fails_now_and_then_is_asked_again_and_told() -> None:
    number = 0

    def answer(_: str) -> float:
        nonlocal number
        number += 1
        if number % 20 == 19:
            raise UserError("requests failed: 2 × Connection reset by peer")
        return 1.0

    found = await measured(way("a", answer))
    assert found.rounds == 8 and len(found.samples["lab"]["a"]["p50"]) == 8
    assert found.notes and "taken again, as requests failed: a: requests failed: 2 ×" in found.notes[0]


async def test_what_keeps_failing_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    number = 0

    def answer(_: str) -> float:
        nonlocal number
        number += 1
        if number > 10:
            raise UserError("status 503")
        return 1.0

    with pytest.raises(UserError, match="lab, a: status 503"):
        await measured(way("a", answer))
    monkeypatch.setattr(rounds, "TRIES", 0.0)
    with pytest.raises(UserError, match="lab, a: status 503"):
        await measured(way("a", answer))


async def test_who_does_not_answer_is_named() -> None:
    def late(_: str) -> float:
        raise TimeoutError

    with pytest.raises(EmulabError, match="lab, a: whoever asks hasn't answered in time"):
        await measured(way("a", late))
