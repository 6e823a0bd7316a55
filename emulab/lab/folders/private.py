"""What a lab's containers write: a file system in memory that the supervisor alone sees, and its processes.

It is mounted in the supervisor's own mount namespace, on a folder of the lab's. So however the supervisor ends, the
kernel takes it back with all that is in it, and the host never sees more of it than an empty folder.

    volumes/    the volumes of Pods, a folder a Pod, and those of claims
    stage/      where containers' roots are built
    shm/        what the containers of a Pod share as /dev/shm
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from emulab.errors import KernelError
from emulab.kernel import libc

_NAME = "private"
_PARTS = ("volumes", "stage", "shm")


def folder(lab: Path, part: str = "") -> Path:
    """The folder, or one of its parts, of the lab at `lab`."""
    return lab / _NAME / part


def mount(lab: Path) -> None:
    """Makes it, before the spawner is there, whose programs are to see it as well. Raises KernelError, OSError."""
    path = folder(lab)
    path.mkdir(mode=0o700, exist_ok=True)
    libc.mount("emulab", str(path), "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=0700")
    for part in _PARTS:
        os.mkdir(path / part, 0o700)


def unmount(lab: Path) -> None:
    """Takes it back, with what is mounted in it, so that the lab's folder can be removed."""
    with suppress(KernelError, FileNotFoundError):  # somebody has removed the folder of a lab that lives
        libc.unmount(str(folder(lab)), libc.MNT_DETACH)
