"""Workers of an ingress that end, or hang, while the first process has something to tell them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from patience import soon
from server_records import Told

from emulab.servers.l7.workers import server as servers
from emulab.servers.l7.workers.process import WorkerProcess


@pytest.fixture
async def worker() -> AsyncIterator[WorkerProcess]:
    made = WorkerProcess(lambda *_: None)
    yield made
    made.kill()
    await soon(asyncio.shield(made.exited))


async def test_one_that_has_just_ended_holds_up_nobodys_end(worker: WorkerProcess) -> None:
    ingress, seat = servers.create(Told()), servers._Seat()
    seat.process = worker
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
    assert worker.running
    await ingress._see_off(seat, 0.001, 60.0)
    assert not worker.running


async def test_one_that_has_no_room_for_questions_hangs(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.ask("ping")
    os.kill(worker.pid, signal.SIGSTOP)
    while not worker.send("ping").done():
        pass
    monkeypatch.setattr(servers, "_TICK", 0.01)
    monkeypatch.setattr(servers, "_PATIENCE", 3)
    watching = asyncio.ensure_future(servers._kill_when_hanging(worker))
    assert await soon(asyncio.shield(worker.exited)) == -signal.SIGKILL
    watching.cancel()


async def test_who_is_dismissed_is_not_asked_any_more_whether_it_lives(worker: WorkerProcess) -> None:
    def asking() -> list[str]:
        names = (getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks())
        return [name for name in names if name == servers._kill_when_hanging.__name__]

    ingress, seat = servers.create(Told()), servers._Seat()
    seat.process = worker
    watching = asyncio.ensure_future(ingress._watch(seat))
    while not asking():
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait([watching])
    await asyncio.sleep(0)
    assert not asking()
