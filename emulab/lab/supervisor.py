"""The supervisor's process: `python -m emulab.lab.supervisor LAB READY_FD LEASH_FD`.

It takes the lab's lock, becomes PID 1 of its own namespaces, forks the spawner while it has no thread, and
only then loads the rest. One line on READY_FD says `ready` or what went wrong. When LEASH_FD is not -1 the
lab ends with whoever holds the other end of it.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

from emulab.errors import EmulabError, UserError
from emulab.kernel import isolate, spawner
from emulab.lab import rundir
from emulab.servers import host


def main() -> None:
    name, ready, leash = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    named = os.geteuid() == 0  # nobody else may write to /run/netns
    try:
        folder = rundir.make(name)
        lock = rundir.take_lock(folder, patience=0.3)
        if lock is None:
            raise UserError(f"lab {name!r} is up already")
        os.set_inheritable(lock, False)
        isolate.isolate()
    except EmulabError as error:
        os.write(ready, f"{error}\n".encode())
        sys.exit(1)
    pid = isolate.host_pid()
    info = rundir.LabInfo(name, pid, _now())
    rundir.write_info(folder, info)
    _raise_file_limit()
    Path("/proc/self/comm").write_text("supervisor")
    spawned = spawner.start(host.serve, host.preload)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command that started us

    import asyncio

    from emulab.lab.runtime import run

    asyncio.run(run(info, folder, spawned, ready, leash, named))
    _clean(folder)  # after a failure the folder stays, with the log in it, until the next command sweeps it


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _raise_file_limit() -> None:
    """Every namespace is a descriptor, every listening socket another."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _clean(folder: Path) -> None:
    """Removes the lab's files. The lock goes with the folder: who starts the lab anew makes another."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
