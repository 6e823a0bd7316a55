"""From a description of namespaces to a program that runs in them.

Used at both ends: by the spawner for containers and by `emulab exec` in the caller's own process, so
that a shell in a pod sees what the pod's containers see. Everything here happens in a fresh child between
fork and exec.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from emulab.errors import KernelError
from emulab.kernel import libc

KINDS = {
    "user": libc.CLONE_NEWUSER,
    "pid": libc.CLONE_NEWPID,
    "net": libc.CLONE_NEWNET,
    "uts": libc.CLONE_NEWUTS,
    "ipc": libc.CLONE_NEWIPC,
    "mnt": libc.CLONE_NEWNS,
}
"""In the order in which they are joined: the user namespace gives the right to join the others."""


@dataclass(frozen=True, slots=True)
class Program:
    """What runs, and what it sees.

    `join` maps a kind of namespace to an open descriptor. `fresh` are kinds made anew (`mnt`, `uts`, `ipc`; a
    new `pid` namespace is made by who forks). `files` are bind-mounted over their targets, which needs a fresh `mnt`.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    working_directory: str = ""
    join: Mapping[str, int] = field(default_factory=dict)
    fresh: Sequence[str] = ()
    hostname: str = ""
    files: Mapping[str, str] = field(default_factory=dict)  # target: source
    remount_proc: bool = False
    cgroup: str = ""


def join(program: Program, kinds: Sequence[str] = tuple(KINDS)) -> None:
    """Joins the existing namespaces. Raises KernelError."""
    for kind in KINDS:
        if kind in kinds and kind in program.join:
            libc.setns(program.join[kind], KINDS[kind])


def furnish(program: Program) -> None:
    """Makes the fresh namespaces and what is to be seen in them. Raises KernelError."""
    flags = 0
    for kind in program.fresh:
        flags |= KINDS[kind]
    if flags:
        libc.unshare(flags)
    if program.hostname and "uts" in (*program.fresh, *program.join):
        with suppress(OSError):  # a name that the kernel won't take isn't worth a program that doesn't start
            socket.sethostname(program.hostname)
    if "mnt" not in program.fresh:
        return
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_SLAVE)
    for target, source in program.files.items():
        _bind(source, target)
    hardened = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
    if program.remount_proc:
        with suppress(KernelError):  # refused where the container we run in masks parts of /proc
            libc.mount("proc", "/proc", "proc", hardened)
    with suppress(KernelError):  # /sys shows the interfaces of the namespace it was mounted in
        libc.mount("sysfs", "/sys", "sysfs", hardened)


def _bind(source: str, target: str) -> None:
    real = os.path.realpath(target)  # /etc/resolv.conf is often a link
    if not os.path.exists(real):
        raise KernelError(
            f"bind {source} to {target}", remedy=f"create an empty {real}: it will be covered, not changed"
        )
    libc.mount(source, real, flags=libc.MS_BIND)


def execute(program: Program) -> NoReturn:
    """Replaces the process with the program. Raises OSError when it can't be started."""
    if program.working_directory:
        os.chdir(program.working_directory)
    os.execvpe(program.argv[0], list(program.argv), dict(program.environment))
