"""What containers want of the kernel, each tried as the code that makes them does it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers import mounts, seccomp
from emulab.kernel.containers.places import in_user_namespace
from emulab.kernel.containers.runtimes import RUNTIMES, attempt

_SCRATCH = "/tmp"

Tried = tuple[str, str, str, Callable[[], object]]
"""A name, what it is for, how to mend it, and what tries it: it raises KernelError or OSError."""


def attempts() -> Iterator[Tried]:
    """For a process that is root of namespaces of its own, and is thrown away."""
    yield (
        "overlay",
        "containers' own changes of files; their root can't be written to without",
        "use a kernel of 5.11 or newer with CONFIG_OVERLAY_FS; in a container: no root that is an overlay of overlays",
        _overlay,
    )
    yield (
        "container /proc",
        "processes as containers see them; their /proc is empty without",
        "docker run --privileged, or --security-opt systempaths=unconfined",
        _proc,
    )
    for name in RUNTIMES:
        yield (
            name,
            f"pods' containers by {name} (Cluster pods.runtime), in place of emulab's own runtime",
            f"apt install {name}",
            partial(attempt, name, _SCRATCH),
        )
    yield ("seccomp", "the filter of containers' system calls", "apt install libseccomp2", _seccomp)
    if os.geteuid() == 0 and not in_user_namespace():
        yield (
            "mapped users",
            "pods with hostUsers: false",
            "use a kernel of 5.19 or newer, on ext4, xfs or btrfs; no root of a container maps users",
            _mapped_users,
        )
    else:
        yield (
            "users",
            "runAsUser, runAsGroup, supplementalGroups, fsGroup and hostUsers of pods",
            "run as root: a lab of an ordinary user has that user alone",
            _one_user,
        )


def _overlay() -> None:
    libc.mount("tmpfs", _SCRATCH, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV)
    for name in ("upper", "work", "root"):
        os.mkdir(f"{_SCRATCH}/{name}")
    mounts.overlay(f"{_SCRATCH}/root", ["/usr"], f"{_SCRATCH}/upper", f"{_SCRATCH}/work")


def _proc() -> None:
    libc.mount("proc", _SCRATCH, "proc", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC)


def _seccomp() -> None:
    if not seccomp.has_filter():
        raise KernelError("libseccomp.so.2 isn't there")
    seccomp.make_filter(())


def _one_user() -> None:
    raise KernelError("there is one user")


def _mapped_users() -> None:
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            libc.unshare(libc.CLONE_NEWUSER)
            os.write(write, b"x")
            signal.pause()
        finally:
            os._exit(0)
    try:
        os.close(write)
        if not os.read(read, 1):
            raise KernelError("make a user namespace")
        # The number of the child that the inherited /proc knows: it is the host's.
        own = os.readlink("/proc/self/ns/user")
        number = next((n for n in _children() if os.readlink(f"/proc/{n}/ns/user") != own), "self")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{number}/{name}", "w") as users:
                users.write("0 65536 65536")
        users_fd = os.open(f"/proc/{number}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        source = os.open("/etc", os.O_PATH | os.O_CLOEXEC)
        try:
            os.close(libc.clone_mount(source, 0, users_fd))
        finally:
            os.close(source)
            os.close(users_fd)
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _children() -> list[str]:
    me = os.readlink("/proc/self")
    with open(f"/proc/{me}/task/{me}/children") as children:
        return children.read().split()
