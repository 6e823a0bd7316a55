"""How often each request is asked: until chance can't matter, and no longer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any, Self

import pytest

from emulab.model.collection import Objects
from emulab.twins import sampling
from emulab.twins.asks import ask
from emulab.twins.owners import Owners
from emulab.twins.sampling import CONTESTED_TRIES, FIRST_TRIES, Sample, Sampler

WEB = ask("http://web/", "default")


class Client:
    def __init__(self, path: Path) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the next tries come to; a reset once they are used up."""
    given: list[str] = []

    def attempt(self: Sampler, client: Any, asked: Any, observation: Sample) -> None:
        word = given.pop(0) if given else "TCP reset"
        observation.outcomes[word] += 1
        observation.answered += word == "HTTP 200"

    monkeypatch.setattr(sampling, "LabClient", Client)
    monkeypatch.setattr(Sampler, "_try", attempt)
    return given


def asked(answers: list[str], *words: str, contested: Sequence[Any] = (), stop: bool = False) -> Sample:
    """What comes of a request in a lab that answers so."""
    answers[:] = words
    ended = Event()
    sampler = Sampler("lab", Owners(Objects([]), {}), 1.0, ended, lambda: None)
    observed = sampler.first([WEB])
    if stop:
        ended.set()
    sampler.more(observed, 40, contested)
    return observed[WEB]


def test_what_is_refused_is_tried_a_few_times(answers: list[str]) -> None:
    assert asked(answers).outcomes == {"TCP reset": FIRST_TRIES}


def test_what_is_answered_is_asked_often(answers: list[str]) -> None:
    found = asked(answers, *["HTTP 200"] * 100)
    assert found.outcomes == {"HTTP 200": 40}


def test_what_another_lab_answers_is_tried_until_it_is_answered_here(answers: list[str]) -> None:
    """With one endpoint of two dead, the first tries may well meet that one alone."""
    words = ["TCP reset"] * 5 + ["HTTP 200", "TCP reset"] * 40
    found = asked(answers, *words, contested=[WEB])
    assert found.tries == 40 and found.outcomes["HTTP 200"] == 18


def test_what_another_lab_answers_and_this_one_never_does(answers: list[str]) -> None:
    assert asked(answers, contested=[WEB]).outcomes == {"TCP reset": CONTESTED_TRIES}


def test_nothing_more_is_asked_once_it_is_over(answers: list[str]) -> None:
    assert asked(answers, contested=[WEB], stop=True).tries == FIRST_TRIES
