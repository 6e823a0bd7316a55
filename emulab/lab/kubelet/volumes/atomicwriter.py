"""WrittenFiles that change all at once: pkg/volume/util/atomic_writer.go.

What is to be seen are links, `key` → `..data/key`; `..data` is a link to a folder that is named after the time at
which it was written. New content is written into another such folder, and then `..data` is exchanged by one rename(2):
whoever opens files sees the old ones or the new ones. Everything is done by descriptors, without following links.
"""

from __future__ import annotations

import errno
import os
import random
import time
from contextlib import suppress
from pathlib import Path

from emulab.kernel import folders
from emulab.lab.kubelet.volumes.files import WrittenFiles
from emulab.lab.kubelet.volumes.ownership import Ownership, own

_DATA, _NEW = "..data", "..data_tmp"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write(folder: Path, files: WrittenFiles, ownership: Ownership | None = None) -> None:
    """Has these files in the folder, and no others. Blocks. Raises OSError; what was there stays then."""
    top = os.open(folder, _FOLDER)
    try:
        old = _shown(top)
        new = _write_beside(top, files, ownership)
        with suppress(FileNotFoundError):
            os.unlink(_NEW, dir_fd=top)
        os.symlink(new, _NEW, dir_fd=top)
        os.rename(_NEW, _DATA, src_dir_fd=top, dst_dir_fd=top)
        _show(top, {path.partition("/")[0] for path in files})
        if old:
            _remove(top, old)
    finally:
        os.close(top)


def _shown(top: int) -> str:
    """The name of the folder whose files are seen; "" where there is none, or a link that leads elsewhere."""
    try:
        name = os.readlink(_DATA, dir_fd=top)
    except OSError:
        return ""
    return name if name.startswith("..2") and "/" not in name else ""


def _write_beside(top: int, files: WrittenFiles, ownership: Ownership | None) -> str:
    """Writes the files into a folder of their own, and returns its name."""
    stamp = time.strftime("..%Y_%m_%d_%H_%M_%S", time.gmtime())
    name = f"{stamp}.{random.randrange(10**9, 10**10)}"
    os.mkdir(name, 0o755, dir_fd=top)
    try:
        inner = os.open(name, _FOLDER, dir_fd=top)
        try:
            os.fchmod(inner, 0o755)
            for path, file in files.items():
                _write_file(inner, path, file.content, file.mode)
            if ownership is not None:
                own(inner, ownership)
        finally:
            os.close(inner)
    except OSError:
        _remove(top, name)
        raise
    return name


def _write_file(folder: int, path: str, content: bytes, mode: int) -> None:
    words = [part for part in path.split("/") if part not in ("", ".")]
    if not words or ".." in words:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    *outer, name = words
    here = os.dup(folder)
    try:
        for part in outer:
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            there = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = there
        with open(os.open(name, _FILE, 0o600, dir_fd=here), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
    finally:
        os.close(here)


def _show(top: int, names: set[str]) -> None:
    """Links to all that is there, and none to what isn't any more."""
    there = {name for name in os.listdir(top) if not name.startswith("..")}
    for name in names - there:
        os.symlink(f"{_DATA}/{name}", name, dir_fd=top)
    for name in there - names:
        os.unlink(name, dir_fd=top)


def _remove(top: int, name: str) -> None:
    """Removes a folder of files that aren't seen any more. What can't be removed now goes with the Pod."""
    with suppress(OSError):
        old = os.open(name, _FOLDER, dir_fd=top)
        try:
            folders.empty(old)
        finally:
            os.close(old)
        os.rmdir(name, dir_fd=top)
