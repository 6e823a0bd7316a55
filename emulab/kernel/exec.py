"""`emulab exec`: a program inside a lab, run from the caller's own process.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from emulab.errors import EmulabError, KernelError
from emulab.kernel import enter, libc

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it
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
_AFTER_FORK = ("net", "uts", "ipc", "mnt")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a program is to run. `join` maps a kind of namespace to its path."""

    join: Mapping[str, str]
    fresh: Sequence[str] = ()
    hostname: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


def run(entry: Entry, argv: Sequence[str]) -> int:
    """Runs a program and returns its exit status, 128 + N when signal N ended it. Raises KernelError.

    The calling process is in the lab's user namespace afterwards, and its further children in the lab's PID one.
    """
    joined = _open(entry.join)
    try:
        program = enter.Program(
            argv=argv,
            environment=_environment(entry),
            working_directory=entry.working_directory,
            join=joined,
            fresh=entry.fresh,
            hostname=entry.hostname,
            files=entry.files,
            remount_proc="mnt" in entry.fresh,
        )
        enter.join(program, _BEFORE_FORK)
        return _fork_and_wait(program)
    finally:
        for fd in joined.values():
            os.close(fd)


def _open(paths: Mapping[str, str]) -> dict[str, int]:
    """Descriptors of all namespaces but a user namespace that is ours already."""
    opened: dict[str, int] = {}
    try:
        for kind, path in paths.items():
            if kind == "user" and os.stat(path).st_ino == os.stat("/proc/self/ns/user").st_ino:
                continue  # the kernel refuses to join it again
            opened[kind] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        for fd in opened.values():
            os.close(fd)
        raise KernelError(
            f"open {error.filename}", errno=error.errno or 0, remedy="has the lab ended?"
        ) from None
    return opened


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
        if select.select([alive], [], [], 0)[
            0
        ]:  # the other end is closed: the parent died before the line above
            os._exit(1)
        enter.join(program, _AFTER_FORK)
        enter.furnish(program)
        for name in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and programs would inherit
            signal.signal(name, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        enter.execute(program)
    except OSError as error:
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        if program.working_directory and error.filename == program.working_directory:
            text = f"working directory {error.filename}: {error.strerror}"
        elif status == NOT_FOUND:
            text = f"{program.argv[0]}: command not found"
        else:
            text = f"{program.argv[0]}: {error.strerror}"
        os.write(2, f"emulab: {text}\n".encode())
    except EmulabError as error:
        os.write(2, f"emulab: {error}\n".encode())
    finally:
        os._exit(status)


def _environment(entry: Entry) -> dict[str, str]:
    """A container's own environment, as `kubectl exec` gives it; the caller's where the entry has none."""
    if not entry.environment:
        return dict(os.environ)
    terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
    return {**terminal, **entry.environment}
