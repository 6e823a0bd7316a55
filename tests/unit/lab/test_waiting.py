"""Waiting until everything is Ready, without a lab."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from lab_objects import conditions, pod

from emulab.errors import NotReady
from emulab.lab.supervisor.waiting import Waiting
from emulab.model.collection import Objects
from emulab.plan.balancers import ExpectedHealth

RUNS = pod(status={"phase": "Running", "conditions": conditions(ready=True)})
DEAD = pod(status={"phase": "Failed", "message": "dead", "conditions": conditions(ready=False)})


class World:
    """A store and its reconciler: what there is becomes what is next when it comes to rest."""

    def __init__(self, *lives: Any) -> None:
        self._lives = list(lives)

    def objects(self) -> Objects:
        return Objects([self._lives[0]])

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.001)

    async def rest(self) -> None:
        if len(self._lives) > 1:
            del self._lives[0]


def waiting(world: World) -> Waiting:
    around: Any = SimpleNamespace(store=world, world=None, servers=None)
    reconciler: Any = world
    return Waiting(around, reconciler, lambda: 0.0)


async def test_who_ends_while_the_data_plane_comes_to_rest_is_not_ready() -> None:
    with pytest.raises(NotReady, match="Pod default/p is Failed: dead"):
        await waiting(World(RUNS, DEAD)).ready({"timeout": 0.05}, lambda _: None)


async def test_who_was_ended_well_by_its_deadline_has_failed_all_the_same() -> None:
    ended = {"name": "main", "ready": False, "state": {"terminated": {"exitCode": 0}}}
    late = pod(status={**DEAD.status, "reason": "DeadlineExceeded", "containerStatuses": [ended]})
    with pytest.raises(NotReady, match="waiting won't help: Pod default/p is Failed: dead"):
        await waiting(World(late)).ready({"timeout": 5}, lambda _: None)


class Balancers:
    """Servers of which one is a balancer, with a target that is well and one of which nobody has heard yet."""

    async def status(self, _name: str) -> Any:
        targets = {"a": {"healthy": True, "check": {"word": "L4OK"}}, "b": {"healthy": True, "check": None}}
        return {"frontends": {"tcp/192.0.2.1/80": {"targets": targets}}}


async def test_first_checks_are_waited_for_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloud's check of a silent target may take two minutes."""
    made = waiting(World(RUNS, RUNS))
    made._around.servers = Balancers()  # type: ignore[assignment]

    async def expected() -> Any:
        return {"lb": {"tcp/192.0.2.1/80": ExpectedHealth(checked=True, asked=False, soon=True)}}

    monkeypatch.setattr(made, "_expected_frontends", expected)
    with pytest.raises(NotReady, match=r"balancer lb has not heard of all targets of tcp/192.0.2.1/80 yet"):
        await made.ready({"timeout": 0.1}, lambda _: None)
    monkeypatch.setattr("emulab.lab.supervisor.waiting._FIRST_CHECKS", 0.1)
    assert await made.ready({"timeout": 60}, lambda _: None) is None


@pytest.mark.parametrize(
    ("word", "healthy", "soon", "waits"),
    [
        (None, True, True, True),
        ("L4CON", False, True, True),
        ("L7OK", False, True, True),
        ("L7OK", True, True, False),
        ("L7STS", False, True, False),  # whoever asks for another path than there is may want to see it fail
        ("L4CON", False, False, False),
    ],
)
async def test_an_answer_is_waited_for_while_it_may_come(
    monkeypatch: pytest.MonkeyPatch, word: str | None, healthy: bool, soon: bool, waits: bool
) -> None:
    made = waiting(World(RUNS, RUNS))

    class Asking:
        async def status(self, _name: str) -> Any:
            target = {"healthy": healthy, "check": word and {"word": word}}
            return {"frontends": {"tcp/192.0.2.1/80": {"targets": {"a": target}}}}

    async def expected() -> Any:
        return {"lb": {"tcp/192.0.2.1/80": ExpectedHealth(checked=True, asked=True, soon=soon)}}

    made._around.servers = Asking()  # type: ignore[assignment]
    monkeypatch.setattr(made, "_expected_frontends", expected)
    if waits:
        with pytest.raises(NotReady, match=r"balancer lb has n"):
            await made.ready({"timeout": 0.1}, lambda _: None)
        monkeypatch.setattr("emulab.lab.supervisor.waiting._FIRST_CHECKS", 0.1)
    assert await made.ready({"timeout": 60}, lambda _: None) is None


async def test_who_stays_is_ready() -> None:
    assert await waiting(World(RUNS, RUNS)).ready({"timeout": 5}, lambda _: None) is None
