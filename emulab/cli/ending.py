"""The end of a lab: told, awaited, and enforced when it doesn't come."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path

from emulab.cli.waiting import at_most
from emulab.errors import EmulabError
from emulab.lab.client.client import LabClient
from emulab.lab.folders import lastlog, rundir

PATIENCE = 10.0  # seconds that a supervisor has to end by itself
ANSWER = 2.0  # seconds that it has to answer


def end(path: Path, patience: float = PATIENCE) -> bool:
    """Ends the lab whose folder is `path` and removes what is left. Returns whether there was anything.

    Raises EmulabError when its supervisor can't be made to end.
    """
    was_alive = rundir.is_alive(path)
    if was_alive:
        _end_supervisor(path, time.monotonic() + patience)
    swept = rundir.sweep(path)
    lastlog.forget(path)
    return swept or was_alive


def _end_supervisor(path: Path, deadline: float) -> None:
    """Tells the supervisor, as soon as it can be told, and waits for its end; kills it when it doesn't come.

    A pidfd tells when it has ended, and with it, as it is their PID 1, every process of the lab.
    """
    process, told = -1, False
    try:
        while rundir.is_alive(path) and time.monotonic() < deadline:
            if process < 0:
                process = _open(path)
            with suppress(EmulabError, OSError), at_most(ANSWER), LabClient(path) as client:
                client.request("down")
                told = True
            if told and process >= 0:
                _ended(process, deadline)
            time.sleep(0.005)
        if process >= 0 and rundir.is_alive(path):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        while rundir.is_alive(path):
            if time.monotonic() > deadline + 5:
                raise EmulabError(_stays(path))
            time.sleep(0.005)
        if process >= 0:
            _ended(process, deadline + 5)
    finally:
        if process >= 0:
            os.close(process)


def _open(path: Path) -> int:
    """A pidfd of the lab's supervisor; -1 when `lab.json` names none, or a process that isn't it.

    What is written in a file may be old or wrong, and kills nobody: the lab's lock is held by its supervisor. The
    pidfd comes first: as long as what it means lives, the number isn't another's (pidfd_open(2)).
    """
    info = rundir.read_info(path)
    if info is None:
        return -1
    try:
        process = os.pidfd_open(info.pid)
    except OSError:
        return -1
    if rundir.holds(info.pid, path) and not _ended(process, 0):
        return process
    os.close(process)
    return -1


def _stays(path: Path) -> str:
    info = rundir.read_info(path)
    stranger = (
        f"; process {info.pid}, which lab.json names, is another"
        if info and not rundir.holds(info.pid, path)
        else ""
    )
    return f"lab {path.name!r} does not end; its supervisor still holds {path}/lock{stranger}"


def _ended(process: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
