"""Starts a lab's supervisor and waits until it can be talked to."""

from __future__ import annotations

import os

from emulab.errors import EmulabError, UserError
from emulab.kernel.launch import launch_supervisor
from emulab.lab import rundir
from emulab.lab.client import LabClient


def start(name: str, leashed: bool = False) -> tuple[LabClient, int]:
    """A connection to a fresh, still empty lab, and the leash (-1 without one): the lab ends when it is closed.

    Raises EmulabError when the supervisor can't start, UserError when the lab is up already.
    """
    path, lock = rundir.claim(name)
    try:
        ready, leash = launch_supervisor(name, path / "supervisor.log", lock, leashed)
    finally:
        os.close(lock)  # the supervisor has it now
    try:
        with open(ready) as pipe:
            line = pipe.readline().strip()
    except BaseException:
        if leash >= 0:
            os.close(leash)
        raise
    if line == "ready":
        return LabClient(path), leash
    if leash >= 0:
        os.close(leash)
    try:
        log = (path / "supervisor.log").read_text().strip().splitlines()
    except OSError:
        log = []
    if not rundir.is_alive(path):
        rundir.sweep(path)
    if not line:
        raise EmulabError(
            f"the supervisor of lab {name!r} ended at its start: {log[-1] if log else 'without a word'}"
        )
    raise UserError(line)
