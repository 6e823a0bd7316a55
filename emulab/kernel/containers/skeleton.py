"""A layer between the host's folders and a container's own, in labs of an ordinary user.

Such a lab has one user: everything that is another's, root's on the host, belongs to nobody in it, and even the
container's root may not make a file in such a folder. The folders of this layer are the lab's own, and an overlay's
uppermost layer that has a folder says whose it is. /etc is there whole, as far as it can be read: its files are what
programs change, and in a container there are mounts among them, which can't be looked below.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress

COPIED = ("/etc",)
"""Folders that are there with their files."""

_FOLDERS: Mapping[str, int] = {
    "/home": 0,
    "/opt": 1,
    "/root": 0,
    "/srv": 1,
    "/usr": 1,
    "/usr/local": 2,
    "/var": 3,
}
"""Folders that are there, and how deep what lies below them is there too."""
_LARGEST = 1 << 20  # bytes of a file in /etc


def make(at: str) -> None:
    """Makes the layer in an empty folder. What may not be read isn't in it. Blocks."""
    for path, depth in _FOLDERS.items():
        _folders(path, f"{at}{path}", depth)
    for path in COPIED:
        _copy(path, f"{at}{path}")


def _folders(path: str, there: str, depth: int) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        return
    os.makedirs(there, exist_ok=True)
    with suppress(OSError):
        os.chmod(there, os.stat(path).st_mode & 0o1777)
        if depth:
            with os.scandir(path) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            for name in names:
                if os.access(f"{path}/{name}", os.R_OK | os.X_OK):
                    _folders(f"{path}/{name}", f"{there}/{name}", depth - 1)


def _copy(path: str, there: str) -> None:
    with suppress(OSError):
        os.makedirs(there, exist_ok=True)
        os.chmod(there, os.stat(path).st_mode & 0o1777)
        with os.scandir(path) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_symlink():
                        os.symlink(os.readlink(entry.path), f"{there}/{entry.name}")
                    elif entry.is_dir():
                        _copy(entry.path, f"{there}/{entry.name}")
                    elif entry.is_file() and entry.stat().st_size <= _LARGEST:
                        shutil.copyfile(entry.path, f"{there}/{entry.name}")
                        os.chmod(f"{there}/{entry.name}", entry.stat().st_mode & 0o777)
