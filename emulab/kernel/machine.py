"""Limits of the machine that all of its labs share: how many neighbours it knows, how many processes it has.

Who meets one is told which it is and how it is raised. What a large lab is going to meet is told before.
"""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import mounttable
from emulab.kernel.cgroups.hierarchies import cgroup_mounts, parse_own

NEIGHBOURS_OF_A_NODE = 4
"""A node and a balancer know each other, and so do a node and the one to which it sends on: the ingress is there. Both
tables count."""
_NEIGHBOUR_LIMIT = "net.ipv{}.neigh.default.gc_thresh3"
_PROC_SYS = "/proc/sys"
_ALL_USERS = f"{(1 << 32) - 1}"


class MachineLimit(NamedTuple):
    """A limit: how many there may be, what says so, and how to raise it."""

    most: int
    name: str
    remedy: str


@cache
def neighbour_limits() -> Mapping[int, MachineLimit]:
    """By version of IP, how many neighbours that come and go the machine knows at a time (`neigh_alloc` of the kernel).

    Only the machine's own network namespace shows it, so a supervisor looks before it leaves that; nothing elsewhere.
    """
    found = {}
    for version in (4, 6):
        name = _NEIGHBOUR_LIMIT.format(version)
        with suppress(OSError, ValueError):
            most = int(Path(_PROC_SYS, name.replace(".", "/")).read_text())
            found[version] = MachineLimit(most, name, f"sysctl -w {name}={{}}")
    return found


def neighbours_wanted(nodes: int) -> int:
    """How many neighbours a lab of so many nodes has at least."""
    return nodes * NEIGHBOURS_OF_A_NODE


def process_limit() -> MachineLimit | None:
    """How many processes and threads there may be: the least of what the kernel, cgroups and this user's limit say."""
    return min(_process_limits(), default=None)


def _process_limits() -> Iterator[MachineLimit]:
    for name in ("kernel.pid_max", "kernel.threads-max"):
        with suppress(OSError, ValueError):
            most = int(Path(_PROC_SYS, name.replace(".", "/", 1)).read_text())
            yield MachineLimit(most, name, f"sysctl -w {name}={{}}")
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and not _is_unbounded():
        yield MachineLimit(soft, "the limit of this user's processes (ulimit -u)", "ulimit -u {}")
    for path in _pids_files():
        with suppress(OSError, ValueError):  # "max" is no number, and no limit
            remedy = f"echo {{}} > {path}; of a service or session of systemd: TasksMax="
            yield MachineLimit(int(path.read_text()), str(path), remedy)


def _is_unbounded() -> bool:
    """Whether this is root of the machine, whom no limit of a user's processes holds (CAP_SYS_RESOURCE)."""
    with suppress(OSError):
        return not os.geteuid() and Path("/proc/self/uid_map").read_text().split() == ["0", "0", _ALL_USERS]
    return False


def _pids_files() -> Iterator[Path]:
    """Where cgroups say how many processes there may be: those of this process' own one, and of all above it."""
    try:
        mounts, own = cgroup_mounts(mounttable.read()), parse_own(Path("/proc/self/cgroup").read_text())
    except OSError:
        return
    for mount in mounts:
        if not mount.unified and "pids" not in mount.controllers:
            continue
        cgroup = own.get("" if mount.unified else "pids", "/")
        below = Path(os.path.relpath(cgroup, mount.root))
        if ".." not in below.parts:
            folder = Path(mount.point, below)
            yield from (p / "pids.max" for p in (folder, *folder.parents) if p.is_relative_to(mount.point))


def no_more_processes(what: str) -> KernelError:
    """That a process or thread couldn't be made for their number, with what bounds it."""
    limit = process_limit()
    remedy = (
        f"{limit.name} is {limit.most}, so raise it: {limit.remedy.format(4 * limit.most)}" if limit else ""
    )
    return KernelError(what, errno=errno.EAGAIN, remedy=remedy)


def start(thread: threading.Thread) -> None:
    """Starts a thread. Raises KernelError where there may be no more."""
    try:
        thread.start()
    except RuntimeError:
        raise no_more_processes("start a thread") from None


class Threads(ThreadPoolExecutor):
    """Threads for a loop (`asyncio.to_thread`). Where the machine has no more, those that there are do the work."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise no_more_processes("start a thread") from None
