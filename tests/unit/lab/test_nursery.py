"""Namespaces that a process makes while the plan isn't done: who gets them, and what is when it can't."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import Any, cast

import pytest

from emulab.errors import KernelError
from emulab.kernel import ahead
from emulab.kernel.netns import Handle
from emulab.lab.hosts.processes import Processes
from emulab.lab.supervisor.nursery import Nursery
from emulab.plan.state import Namespace

PODS = [Namespace(f"pod-{n}") for n in range(ahead.LOT + 5)]


class Made:
    """Stands for the process: files are its namespaces, and it ends after some lots."""

    def __init__(self, lots: int | None) -> None:
        self.lots = lots  # None: it can't begin
        self.asked = 0

    async def serve(self, kind: str, name: str, stdio: object, control: socket.socket, join: object) -> None:
        assert kind == "namespaces"
        self.asked += 1
        if self.lots is None:
            raise KernelError("start a process: there may be no more")
        threading.Thread(target=self._send, args=(control.dup(), self.lots)).start()

    @staticmethod
    def _send(control: socket.socket, lots: int) -> None:
        with control, open(os.devnull, "rb") as file, socket.socket() as sock:
            socket.recv_fds(control, 1, 1)
            for lot in range(lots):
                count = len(PODS[lot * ahead.LOT : (lot + 1) * ahead.LOT])
                said = ("[" + ",".join(["false"] * count) + "]").encode()
                socket.send_fds(control, [said], [file.fileno(), sock.fileno()] * count)


def nursery(lots: int | None) -> tuple[Nursery, Made]:
    processes = Made(lots)
    return Nursery(cast(Processes, cast(Any, processes)), asyncio.get_running_loop()), processes


def closed(made: dict[Namespace, Handle]) -> int:
    for handle in made.values():
        handle.close()
    return len(made)


@pytest.mark.parametrize(("lots", "count"), [(2, len(PODS)), (1, ahead.LOT), (0, 0), (None, 0)])
async def test_what_the_process_made_is_taken_once(lots: int | None, count: int) -> None:
    kept, processes = nursery(lots)
    await asyncio.to_thread(kept.expect, PODS)
    kept.expect(PODS[:3])  # the same change, planned again
    made = dict(await kept.take())
    assert [n.name for n in made] == [h.name for h in made.values()] == [p.name for p in PODS[:count]]
    assert closed(made) == count
    assert not await kept.take() and processes.asked == 1


async def test_without_expectations_nothing_is_waited_for() -> None:
    kept, processes = nursery(2)
    assert not await kept.take() and processes.asked == 0
