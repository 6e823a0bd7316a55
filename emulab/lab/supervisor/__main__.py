"""The supervisor's process: `python -m emulab.lab.supervisor LAB READY_FD LEASH_FD LOCK_FD`.

It becomes PID 1 of its own namespaces, forks the spawner while it has no thread, and only then loads the
rest. LOCK_FD holds the lab's lock, taken by who started it, so there is no moment at which a lab that is
being started looks like a dead one. One line on READY_FD says `ready` or what went wrong. When LEASH_FD is
not -1 the lab ends with whoever holds the other end of it.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from emulab.errors import EmulabError
from emulab.kernel import libc, machine
from emulab.kernel.processes import isolate, spawner
from emulab.lab.folders import private, rundir
from emulab.lab.folders.disk import refused, speak_to_log, writing
from emulab.lab.images.home import images_folder
from emulab.servers import host

_COLLECTING = (20_000, 10, 10)
"""The garbage collector's thresholds. Objects and plans are trees, which need no collector, and with thousands of
Services looking for cycles every 700 objects takes a third of the time that planning takes."""
_SWITCHING = 0.001
"""Seconds for which a thread keeps the interpreter from others that want it: the loop answers while another one plans,
and has to ask for the interpreter after each of its system calls."""


def main() -> None:
    speak_to_log()
    name = sys.argv[1]
    ready, leash, lock = map(int, sys.argv[2:])
    try:
        _live(name, ready, leash, lock)
    except (EmulabError, OSError) as error:
        traceback.print_exc()
        with suppress(OSError):  # closed, once that it is ready has been said
            os.write(ready, f"{_reason(error, rundir.folder(name))}\n".encode())
        sys.exit(1)


def _reason(error: EmulabError | OSError, folder: Path) -> str:
    """Why the lab can't start, on one line."""
    return " ".join(str(error if isinstance(error, EmulabError) else refused(error, folder)).split())


def _live(name: str, ready: int, leash: int, lock: int) -> None:
    """The lab's whole life. Raises EmulabError or OSError when it can't begin."""
    named = os.geteuid() == 0  # nobody else may write to /run/netns
    folder, images = rundir.folder(name), images_folder()
    os.set_inheritable(lock, False)
    machine.neighbour_limits()  # which are remembered: they aren't to be seen in other network namespaces
    isolate.isolate()
    pid = isolate.host_pid()
    info = rundir.LabInfo(name, pid, _now())
    with writing(folder / "lab.json"):
        rundir.write_info(folder, info)
    private.mount(folder)
    files = _raise_file_limit()
    gc.set_threshold(*_COLLECTING)
    libc.share_one_heap()
    Path("/proc/self/comm").write_text("supervisor")
    spawned = spawner.start_spawner(host.serve, host.preload, files)
    sys.setswitchinterval(_SWITCHING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command that started us

    import asyncio

    from emulab.lab.supervisor.runtime import run

    # After a failure the folder stays, with the log in it, until the next command sweeps it.
    # Nobody waits for what is still under way then (`asyncio.run` would, for a task that ends its cancellation by an
    # error of another kind and goes on, for ever): the kernel ends it with the process.
    loop = asyncio.new_event_loop()
    loop.set_default_executor(machine.Threads())
    in_order = loop.run_until_complete(run(info, folder, images, spawned, ready, leash, named))
    private.unmount(folder)
    rundir.remove(folder, lock, keep_log=not in_order)
    sys.stdout.flush()
    os._exit(0)


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _raise_file_limit() -> tuple[int, int]:
    """Every namespace is a descriptor, every listening socket another. Returns the limits as they were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


if __name__ == "__main__":
    main()
