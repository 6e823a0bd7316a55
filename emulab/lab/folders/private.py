"""A tmpfs of the lab's, which nobody outside it sees: in it lie its volumes, and roots of containers are built there.

It is mounted in the supervisor's own mount namespace, so it is gone when the supervisor is, however that ends. What
programs of containers may write lies in file systems of their own that are mounted in it (`rooms`).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from emulab.errors import KernelError
from emulab.kernel import libc

NAME = "private"
_FOLDERS = ("stage", "skeleton", "shm", "pods", "claims", "runtime")


def folder(lab: Path) -> Path:
    """Where it is in a lab's folder."""
    return lab / NAME


def mount(lab: Path) -> None:
    """Mounts it, with empty folders. Raises KernelError and OSError."""
    at = folder(lab)
    at.mkdir(mode=0o700, exist_ok=True)
    libc.mount("tmpfs", str(at), "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=0700,size=25%")
    for name in _FOLDERS:
        (at / name).mkdir(mode=0o755)


def unmount(lab: Path) -> None:
    """Takes it away, unless that has happened: the lab's folder can be removed then."""
    with suppress(KernelError):
        libc.unmount(str(folder(lab)), libc.MNT_DETACH)
