"""A fork of this process that goes on with something else."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from emulab.kernel import libc


def fork_to(work: Callable[[], object], descriptor: int) -> tuple[int, int]:
    """Starts a process that does `work`, and ends with it or with this one; its number, and a descriptor of it.

    Of this process' descriptors it has the first three and the one that is named. It may be started out of a running
    event loop: what the fork has of this process stays where it is, and is never run or freed, as a loop that is freed
    closes its descriptors, whose numbers are others' by then.
    """
    gc.collect()  # what nobody holds any more is freed here
    pid = os.fork()
    if not pid:
        _go_on(work, descriptor)
    return pid, os.pidfd_open(pid)


def _go_on(work: Callable[[], object], descriptor: int) -> NoReturn:
    status = 1
    try:
        gc.freeze()
        libc.die_with_parent(signal.SIGKILL)
        signal.set_wakeup_fd(-1)  # of the loop that was
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, descriptor)
        os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
