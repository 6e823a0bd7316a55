"""A cgroup for each container, where the kernel gives a writable cgroup v2 hierarchy."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def hierarchy() -> Path | None:
    """Where cgroup v2 is mounted and writable for us, else None."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            path = Path(before.split()[4])
            if os.access(path, os.W_OK):
                return path
    return None


def create(lab: str, name: str) -> str:
    """A cgroup for one container; its path, or "" where the kernel gives none."""
    top = hierarchy()
    if top is None:
        return ""
    path = top / "emulab" / lab / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(path)


def remove(path: str) -> None:
    """Removes a container's cgroup, if its processes have ended."""
    with suppress(OSError):
        os.rmdir(path)


def _is_populated(path: Path) -> bool:
    """Whether there is a process in a cgroup or below it (cgroups(7): cgroup.events)."""
    with suppress(OSError):
        return "populated 1" in (path / "cgroup.events").read_text().splitlines()
    return False


def sweep(lab: str, seconds: float = 1.0) -> None:
    """Removes the cgroups of a lab that is gone; its processes may still be on their way out. Blocks.

    Where processes stay, it is the lab of that name of another run directory that lives: all is left to that.
    """
    top = hierarchy()
    if top is None or not (top / "emulab" / lab).is_dir():
        return
    ours = top / "emulab" / lab
    end = time.monotonic() + seconds
    while True:
        if not _is_populated(ours):
            with os.scandir(ours) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        remove(entry.path)
            remove(str(ours))
        if not ours.exists() or time.monotonic() > end:
            break
        time.sleep(0.005)
    remove(str(ours.parent))
