"""What is bound in a container's root, and where: no link leads out of the root, or out of a volume.

Paths are opened with openat2(2), a step at a time, and what is mounted on is what was opened. What is missing of them
is made, as a runtime makes it, and so is what a link leads to, in the root that it is in.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers import mounts
from emulab.kernel.containers.root import Bind

_SHOWN = 200  # characters of a path in an error
_LINKS = 40  # as many as the kernel follows (path_resolution(7))
_FOLDER = 0o755  # of folders that runtimes make
_BELOW = libc.RESOLVE_BENEATH | libc.RESOLVE_NO_MAGICLINKS
_IN_ROOT = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS


class StagedBind(NamedTuple):
    """`users`: an open user namespace, with whose owners it is seen; -1 where they are right as they are."""

    bind: Bind
    users: int = -1


def bind_all(top: str, binds: Sequence[StagedBind], owner: int = 0) -> None:
    """Binds all of it in a root, in which what is missing is that user's. Raises KernelError and OSError."""
    root = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for bind, users in binds:
            _bind(root, bind, users, owner)
    finally:
        os.close(root)


def _bind(root: int, bind: Bind, users: int, owner: int) -> None:
    """Raises KernelError that says what can't be seen where."""
    sub_path = f" with subPath {bind.sub_path[:_SHOWN]}" if bind.sub_path else ""
    what = f"mount {bind.target[:_SHOWN]}{sub_path}"
    if not bind.target.strip("/."):
        raise KernelError(f"{what}: it is the container's root")
    try:
        source = _source(bind)
        try:
            _bind_open(root, source, bind, users, owner)
        finally:
            os.close(source)
    except KernelError as error:
        raise KernelError(what, errno=error.errno, remedy=error.remedy) from None
    except OSError as error:
        leads_out = bind.sub_path and error.errno == errno.EXDEV
        why = "a link in it leads out of its volume" if leads_out else error.strerror
        raise KernelError(f"{what}: {why}") from None


def _bind_open(root: int, source: int, bind: Bind, users: int, owner: int) -> None:
    there = target(root, bind.target, stat.S_ISDIR(os.fstat(source).st_mode), owner)
    try:
        attributes = mounts.attributes(read_only=bind.read_only, no_devices=True)
        mount_clone(source, _by_descriptor(there), attributes, users)
    finally:
        os.close(there)


def mount_clone(source: int, at: str, attributes: int, users: int) -> None:
    """Mounts what is open, restricted before anybody can use it."""
    mount = libc.clone_mount(source, attributes, users)
    try:
        libc.attach_mount(mount, at)
    finally:
        os.close(mount)


def _by_descriptor(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def keep(top: str, path: str, at: str, owner: int, copied: bool) -> None:
    """Mounts a folder of a root, which is made where it is missing, at another place, where nothing restricts it.

    What is written there lies in the root's own upper layer; where there is none, all of the folder is `copied`.
    Raises KernelError and OSError.
    """
    if not _words(path):
        raise OSError(errno.EINVAL, "the image has its root for a volume", path)
    root = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = target(root, path, True, owner)
    finally:
        os.close(root)
    try:
        if not stat.S_ISDIR(os.fstat(found).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "the image has a file in the place of its volume", path)
        if copied:
            _copy(_by_descriptor(found), at)
        else:
            mount_clone(found, at, 0, -1)
    finally:
        os.close(found)


def _copy(source: str, there: str) -> None:
    shutil.copytree(source, there, symlinks=True, dirs_exist_ok=True)
    for folder, folders, files in os.walk(source):
        for name in (".", *folders, *files):
            path = os.path.join(folder, name)
            about = os.lstat(path)
            os.lchown(f"{there}{path.removeprefix(source)}", about.st_uid, about.st_gid)


def _source(bind: Bind) -> int:
    """What is bound. A link below the source that leads out of it is refused (EXDEV). Raises OSError.

    What is missing of a `sub_path` may be written to by whom the volume may be (kubelet, `makeMounts`: `SafeMakeDir`).
    """
    source = os.open(bind.source, os.O_PATH | os.O_CLOEXEC)
    if not bind.sub_path:
        return source
    try:
        mode = stat.S_IMODE(os.fstat(source).st_mode)
        return _made_below(source, bind.sub_path, _BELOW, folder=True, mode=mode)
    finally:
        os.close(source)


def target(root: int, path: str, folder: bool, owner: int = 0) -> int:
    """Opens where something is to be mounted, in a root. Raises OSError."""
    return _made_below(root, path, _IN_ROOT, folder, owner)


def _made_below(root: int, path: str, resolve: int, folder: bool, owner: int = 0, mode: int = _FOLDER) -> int:
    """Opens what lies below an open folder, after what is missing of it was made. Raises OSError."""
    done: list[str] = []
    rest, links = _words(path), 0
    here = os.dup(root)
    try:
        while rest:
            word = rest.pop(0)
            try:
                there = libc.open_below(root, "/".join((*done, word)), os.O_PATH, resolve)
            except FileNotFoundError:
                leads_to = _link(here, word) if resolve == _IN_ROOT and links < _LINKS else ""
                if leads_to:
                    links += 1
                    rest = [*_words(leads_to), *rest]
                    if leads_to.startswith("/"):
                        done.clear()
                        there = os.dup(root)
                        os.close(here)
                        here = there
                    continue
                with suppress(FileExistsError):  # another container may have made it just now
                    _make(here, word, folder or bool(rest), owner, mode)
                there = libc.open_below(root, "/".join((*done, word)), os.O_PATH, resolve)
            done.append(word)
            os.close(here)
            here = there
    except BaseException:
        os.close(here)
        raise
    return here


def _words(path: str) -> list[str]:
    return [word for word in path.split("/") if word not in ("", ".")]


def _link(folder: int, name: str) -> str:
    """Where a link leads; "" for what is none, or isn't there."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return ""


def _make(folder: int, name: str, is_folder: bool, owner: int, mode: int) -> None:
    """`mode`: of a folder. The kernel gives it the group of the folder around it where that says so (S_ISGID)."""
    if is_folder:
        os.mkdir(name, mode, dir_fd=folder)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o644, dir_fd=folder))
    if owner:
        os.chown(name, owner, owner, dir_fd=folder, follow_symlinks=False)
