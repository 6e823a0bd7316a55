"""How a supervisor gets namespaces of its own and becomes PID 1 of them.

Called once, at the very start of the supervisor's process, before it has threads: the process that was
started stays behind only long enough to fork; its child is PID 1 of a new PID namespace. When that child
ends, however it ends, the kernel ends every process of the namespace (pid_namespaces(7)).
"""

from __future__ import annotations

import os
from pathlib import Path

from emulab.errors import KernelError
from emulab.kernel import libc


def isolate() -> None:
    """Returns in a new process, PID 1 of its own namespaces; the caller's process exits.

    Root keeps its user namespace; anyone else becomes root of a new one. The network namespace is an
    empty one: no process of a lab stays in the host's. Raises KernelError.
    """
    flags = libc.CLONE_NEWPID | libc.CLONE_NEWNS | libc.CLONE_NEWNET | libc.CLONE_NEWIPC | libc.CLONE_NEWUTS
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        libc.unshare(libc.CLONE_NEWUSER)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
    libc.unshare(flags)
    # Slave, not private: what the host mounts later shows up here, nothing of ours shows up there.
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_SLAVE)
    if os.fork() > 0:
        os._exit(0)
    os.setsid()


def host_pid() -> int:
    """This process's number as the host sees it: the inherited /proc is the host's own."""
    return int(os.readlink("/proc/self"))


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text)
    except OSError as error:
        raise KernelError(
            f"write {path}", errno=error.errno or 0, remedy="allow user namespaces, or run as root"
        ) from None
