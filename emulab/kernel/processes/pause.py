"""The first process of the containers of a Pod that share their processes: it holds their PID namespace.

It is what the `pause` image is to the kubelet: it collects processes that lost their parent, and when it ends the
kernel ends all others of the namespace (pid_namespaces(7)).
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import NoReturn

from emulab.kernel import libc
from emulab.kernel.containers import confine
from emulab.kernel.containers.rights import Rights
from emulab.kernel.processes import enter
from emulab.kernel.processes.enter import Program

_SIGNALS = {signal.SIGCHLD, signal.SIGTERM}
_NAME, _COMMAND = b"pause", b"/pause"


def show() -> None:
    """Has a command line that isn't the supervisor's. Raises OSError where there is no /proc any more."""
    libc.show_command(_COMMAND)


def pause(program: Program, report: int) -> NoReturn:
    """Becomes that process, with no rights at all; its root is the program's, in which nothing is of the host's.

    It is begun once `report` is closed. Its namespaces can be opened until its stdin ends. Nobody looks into it after
    that: it has the lab's memory and program, and those who will share its namespace aren't to be trusted.
    """
    if "user" in program.fresh:  # the namespace lives on by who has opened it
        os.close(report)
        os.read(0, 1)
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    libc.name_thread(_NAME)
    confine.confine(Rights(capabilities=()), confine.Credentials(0, 0, None, "/"), b"")
    libc.prctl(libc.PR_SET_DUMPABLE, 1)
    os.close(report)
    os.read(0, 1)
    enter.hide_from_others()
    while True:
        if signal.sigwait(_SIGNALS) == signal.SIGTERM:
            os._exit(0)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
