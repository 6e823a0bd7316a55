"""A program at a place of a lab that has the caller's terminal, run from the caller's own process.

A terminal controls the processes of one session (setsid(2), tty_ioctl(4)), and nobody joins another's: job control,
Ctrl-C and Ctrl-Z, and who may read what is typed, are right for a descendant of the caller alone. Programs without a
terminal are started by the lab (`lab.programs`), which is quicker.

The caller joins the lab's user and PID namespace, forks, and waits; the child joins the rest and becomes the
program. Rules:

* Every namespace is opened before any is joined: afterwards the paths may mean something else.
* Stdin, stdout and stderr are the caller's. A signal that the terminal sends reaches the program without our
  help (both are in its foreground process group); one sent to the caller with kill(2) is passed on.
* The program ends with its caller (PR_SET_PDEATHSIG), however that ends.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from emulab.errors import EmulabError, KernelError
from emulab.kernel import libc
from emulab.kernel.processes import enter
from emulab.kernel.processes.enter import Entry

_PASSED = frozenset(
    {
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
    }
)
_BEFORE_FORK = ("user", "pid")  # the right to join, and what only children get
_AFTER_FORK = ("net", "uts", "ipc", "cgroup", "mnt")


def run(entry: Entry, argv: Sequence[str]) -> int:
    """Runs a program and returns its exit status, 128 + N when signal N ended it. Raises KernelError.

    The calling process is in the lab's user namespace afterwards, and its further children in the lab's PID one.
    """
    joined = entry.open()
    try:
        program = entry.program(argv, joined, os.environ)
        enter.prepare(program)
        enter.join_namespaces(program, _BEFORE_FORK)
        return _fork_and_wait(program)
    finally:
        for fd in joined.values():
            os.close(fd)


def _fork_and_wait(program: enter.Program) -> int:
    watched = _PASSED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    alive_read, alive_write = os.pipe2(os.O_CLOEXEC)
    try:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.close(alive_write)
            _become(program, before, alive_read)
        return _wait(pid, watched)
    finally:
        os.close(alive_read)
        os.close(alive_write)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(pid: int, watched: frozenset[signal.Signals] | set[signal.Signals]) -> int:
    """Passes on signals until the child has ended."""
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        elif info.si_code <= 0:  # SI_USER and the like; what the kernel sends (SI_KERNEL) the child got too
            os.kill(pid, info.si_signo)


def _become(program: enter.Program, mask: set[signal.Signals] | set[int], alive: int) -> NoReturn:
    """In the child: becomes the program, or says why not and exits."""
    status = 1
    try:
        libc.die_with_parent(signal.SIGKILL)
        # The other end is closed: the parent died before the line above.
        if select.select([alive], [], [], 0)[0]:
            os._exit(1)
        with suppress(KernelError):  # who isn't in what is delegated may move no process there (cgroups(7))
            enter.join_cgroup(program)
        enter.join_namespaces(program, _AFTER_FORK)
        enter.furnish(program)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        enter.execute(program)
    except (OSError, ValueError, EmulabError) as error:
        status, text = enter.start_failure(error, program.argv[0], program.working_directory)
        os.write(2, f"emulab: {text}\n".encode())
    finally:
        os._exit(status)
