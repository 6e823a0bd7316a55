"""Reading a file in layers that lie on each other, as an overlay of them would show it, without mounting one."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

_LINKS = 40
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


def read_in(layers: Sequence[str], path: str, most: int) -> bytes | None:
    """The beginning of a file of these layers, the top one first; None where there is none. Raises OSError."""
    where = _find(layers, path)
    if where is None:
        return None
    fd = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return file.read(most) if stat.S_ISREG(os.fstat(fd).st_mode) else None


def _find(layers: Sequence[str], path: str) -> str | None:
    """Where a file lies. Links are followed as inside the container: an absolute one begins at its root."""
    rest = list(reversed(path.split("/")))
    trail: list[list[str]] = [
        list(layers)
    ]  # of each folder on the way, where it is in the layers that show it
    links = 0
    while rest:
        name = rest.pop()
        if name in ("", "."):
            continue
        if name == "..":
            trail = trail[:-1] or trail
            continue
        found = _entry(trail[-1], name)
        if isinstance(found, list):
            trail.append(found)
        elif found is None:
            return None
        elif stat.S_ISLNK(os.lstat(found).st_mode):
            links += 1
            if links > _LINKS:
                return None
            target = os.readlink(found)
            if target.startswith("/"):
                trail = trail[:1]
            rest += reversed(target.split("/"))
        else:
            return found if not rest else None
    return None


def _entry(folders: Sequence[str], name: str) -> list[str] | str | None:
    """What a folder has of that name: where else it is if it is a folder too, the path of what else it is."""
    inner: list[str] = []
    for folder in folders:
        path = f"{folder}/{name}"
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(mode):
            whiteout = stat.S_ISCHR(mode)  # images have no other devices
            return inner or (None if whiteout else path)
        inner.append(path)
        if _is_opaque(path):
            break
    return inner or None


def _is_opaque(path: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(path, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False
