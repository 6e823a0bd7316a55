"""A place to mount a folder on where this machine has none, without making one."""

from __future__ import annotations

import os

from emulab.kernel import libc


def make_room(folder: str, name: str) -> None:
    """Covers a folder of the host's by one in memory, where all that is in it is mounted again, and one more folder is.

    Raises KernelError and OSError.
    """
    there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc.mount("tmpfs", folder, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=0755")
        for entry in os.scandir(there):
            own, its = os.path.join(folder, entry.name), f"/proc/self/fd/{there}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(its), own)
                continue
            if entry.is_dir():
                os.mkdir(own)
            else:
                os.close(os.open(own, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            libc.mount(its, own, flags=libc.MS_BIND | libc.MS_REC)
        os.mkdir(os.path.join(folder, name))
    finally:
        os.close(there)
