"""Starts a supervisor as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from emulab.kernel.processes.image import sealed_interpreter


def launch_supervisor(name: str, log: int, lock: int, leashed: bool) -> tuple[int, int]:
    """Starts the supervisor of a lab, which writes to `log` and inherits the lab's `lock`.

    Returns a descriptor on which it writes `ready` or an error, one line, and the caller's end of its leash
    (-1 without).
    """
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    leash_read, leash_write = os.pipe2(os.O_CLOEXEC) if leashed else (-1, -1)
    passed = [fd for fd in (ready_write, leash_read) if fd >= 0]
    program = sealed_interpreter()
    command = [sys.executable, "-P", "-m", "emulab.lab.supervisor", name]
    subprocess.Popen(
        [*command, str(ready_write), str(leash_read), str(lock)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(*passed, lock, *([] if program is None else [program])),
        executable=sys.executable if program is None else f"/proc/self/fd/{program}",
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": import_path()},
    )
    for fd in (*passed, *([] if program is None else [program])):
        os.close(fd)
    return ready_read, leash_write


def import_path() -> str:
    """Where this very package is imported from comes first, so that the supervisor runs the same code."""
    here = str(Path(__file__).resolve().parents[2])
    rest = os.environ.get("PYTHONPATH", "")
    return f"{here}{os.pathsep}{rest}" if rest else here
