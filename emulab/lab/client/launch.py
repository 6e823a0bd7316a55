"""Starts a lab's supervisor and waits until it can be talked to."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from typing import NamedTuple

from emulab.errors import EmulabError, UserError
from emulab.kernel.processes.launch import launch_supervisor
from emulab.lab.client import hung
from emulab.lab.client.client import LabClient
from emulab.lab.folders import lastlog, rundir

_ENDING = 5.0  # seconds that a supervisor which says why it ends has for that


class Starting(NamedTuple):
    """A supervisor that hasn't said yet that it is ready. Its descriptors are the caller's.

    `ready`: where it says so; `leash`: the lab ends when it is closed, at whatever point it is (-1 without one).
    """

    name: str
    path: Path
    ready: int
    leash: int


def begin(name: str, leashed: bool = False) -> Starting:
    """Starts a supervisor and waits for nothing but its name. Raises UserError when the lab is up already."""
    path, lock = rundir.claim(name)
    try:
        log = rundir.open_log(path)
        try:
            return Starting(name, path, *launch_supervisor(name, log, lock, leashed))
        finally:
            os.close(log)
    finally:
        os.close(lock)  # the supervisor has it now


def start_lab(name: str, leashed: bool = False) -> tuple[LabClient, int]:
    """A connection to a fresh, still empty lab, and its leash. Blocks.

    Raises EmulabError when the supervisor can't start, UserError when the lab is up already.
    """
    begun = begin(name, leashed)
    try:
        with open(begun.ready) as pipe:
            _await_ready(begun)
            check(begun, pipe.readline())
        return LabClient(begun.path), begun.leash
    except BaseException:
        if begun.leash >= 0:
            os.close(begun.leash)
        raise


def _await_ready(begun: Starting) -> None:
    """Returns when the supervisor has said something, or has ended. Raises EmulabError when it hangs."""
    silence, poll = hung.LabSilence(begun.path, starting=True), select.poll()
    poll.register(begun.ready, select.POLLIN)
    while not poll.poll(hung.LOOK * 1000):
        silence.look()


async def started(begun: Starting) -> None:
    """Waits until a supervisor is ready, and closes `ready`. Raises what `start_lab` raises."""
    import asyncio  # here, not above: `up` does without it, and would take a fifth longer to load

    from emulab.lab.client.waiting import readable

    silence = hung.LabSilence(begun.path, starting=True)
    try:
        while True:
            try:
                async with asyncio.timeout(hung.LOOK):
                    await readable(begun.ready)
            except TimeoutError:
                silence.look()
            else:
                line = os.read(begun.ready, select.PIPE_BUF)  # written at once, so it is whole
                break
    finally:
        os.close(begun.ready)
    await asyncio.to_thread(check, begun, line.decode())


def check(begun: Starting, line: str) -> None:
    """What a supervisor said at its start: raises EmulabError unless it is that it is ready.

    Blocks until one that isn't has ended, a moment after it has said why: then its lab isn't listed any more.
    """
    if line == "ready\n":
        return
    deadline = time.monotonic() + _ENDING
    while rundir.is_alive(begun.path) and time.monotonic() < deadline:
        time.sleep(0.005)
    last = lastlog.last_line(begun.path)
    if not rundir.is_alive(begun.path):
        rundir.sweep(begun.path)
    if not line:
        raise EmulabError(
            f"the supervisor of lab {begun.name!r} ended at its start: {last or 'without a word'}"
        )
    raise UserError(line.strip())
