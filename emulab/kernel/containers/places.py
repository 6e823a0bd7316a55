"""What of the host a container may see: which folders of `/`, and which mounts below them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from emulab.kernel import mounttable

NOT_SHOWN = frozenset(("boot", "dev", "lost+found", "media", "mnt", "old_root", "proc", "run", "sys", "tmp"))
"""Folders of `/` that a container has of its own, or that hold what isn't the system's."""

_SYSTEM = ("/bin", "/etc", "/gnu", "/home", "/lib", "/nix", "/opt", "/root", "/sbin", "/srv", "/usr", "/var")
"""Where a mount is part of the system: a partition for /usr, say."""
_OF_DISKS = frozenset(
    (
        "bcachefs",
        "btrfs",
        "erofs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "fuse-overlayfs",
        "overlay",
        "squashfs",
        "xfs",
        "zfs",
    )
)


class Mounted(NamedTuple):
    kind: str  # of the file system
    options: str  # of the file system, not of the mount


@cache
def mount_points() -> dict[str, Mounted]:
    """What is mounted where in this process's namespace; of several at one place the last one is seen."""
    return {entry.point: Mounted(entry.kind, entry.options) for entry in mounttable.read()}


def below(path: str, mounts: Iterable[str]) -> list[str]:
    """Those mount points that lie below a folder."""
    return [mount for mount in mounts if mount.startswith(f"{path.rstrip('/')}/")]


def is_shown(path: str, mounts: Mapping[str, Mounted]) -> bool:
    """Whether what is mounted there is the system's, or nothing is mounted there."""
    mounted = mounts.get(path)
    if mounted is None:
        return True
    if mounted.kind not in _OF_DISKS:
        return False
    return any(path == folder or path.startswith(f"{folder}/") for folder in _SYSTEM) and os.path.isdir(path)


@cache
def in_user_namespace() -> bool:
    """Whether this process isn't in the first user namespace: mounts that came with it are locked then."""
    try:
        words = Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return False
    return words[:3] != ["0", "0", "4294967295"]


def others_homes(own: Sequence[str]) -> tuple[str, ...]:
    """The folders of /home that aren't of these."""
    try:
        homes = [f"/home/{name}" for name in os.listdir("/home")]
    except OSError:
        return ()
    return tuple(home for home in sorted(homes) if home not in own)
