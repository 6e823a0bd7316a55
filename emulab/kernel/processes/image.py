"""This interpreter's program as a file of its own, which nobody shares with the machine.

A process that becomes a container's program is this interpreter until then, and the kernel lets whoever is run
meanwhile reach that as /proc/self/exe: a script of a container that names it as its interpreter is given it, and
root could change the host's file by it (CVE-2019-5736). So the supervisor, from which all of them are forked, runs
a sealed copy in memory.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed_interpreter() -> int | None:
    """A descriptor of the copy, for execve(2) by /proc/self/fd; None where the kernel runs no such files."""
    try:
        fd = os.memfd_create("emulab", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return None
    try:
        with open(os.path.realpath(sys.executable), "rb") as program:
            size = os.fstat(program.fileno()).st_size
            sent = 0
            while sent < size:
                sent += os.sendfile(fd, program.fileno(), sent, size - sent)
        os.fchmod(fd, 0o500)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        if _may_run(fd):
            return fd
    except OSError:
        pass
    with suppress(OSError):
        os.close(fd)
    return None


def _may_run(fd: int) -> bool:
    """Whether files in memory may be run here (sysctl vm.memfd_noexec)."""
    return os.access(f"/proc/self/fd/{fd}", os.X_OK)
