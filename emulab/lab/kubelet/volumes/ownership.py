"""Whom a volume belongs to: the group of a Pod's `fsGroup` (pkg/volume/volume_linux.go, `SetVolumeOwnership`).

Everything in the volume gets the group, folders so that what is made in them gets it too, and the group may do there
what the volume allows. Links aren't followed, and nothing but files and folders is opened.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import NamedTuple

_READ_WRITE, _READ, _ENTER = 0o660, 0o440, 0o110
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Ownership(NamedTuple):
    group: int
    read_only: bool = False
    if_root_differs: bool = False
    """`fsGroupChangePolicy: OnRootMismatch`: a volume whose top folder is right is left as it is."""


class OneUser(Exception):
    """A lab of an ordinary user has no groups but its own."""


def own_folder(path: str, ownership: Ownership) -> None:
    """Gives a folder, with all in it, to the group. Blocks. Raises OSError, OneUser."""
    top = os.open(path, _OPEN | os.O_DIRECTORY)
    try:
        found = os.fstat(top)
        wanted = _mode(found.st_mode, ownership)
        if ownership.if_root_differs and (found.st_gid, stat.S_IMODE(found.st_mode)) == (
            ownership.group,
            wanted,
        ):
            return
        own(top, ownership)
    finally:
        os.close(top)


def own(folder: int, ownership: Ownership) -> None:
    """The same of an open folder. What comes and goes in it meanwhile, as another Pod has it, too, may be left out."""
    try:
        _own_below(folder, ownership)
    except RecursionError:
        raise OSError(errno.ENAMETOOLONG, "its folders are too deep to be given to a group") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a number that the lab's user namespace doesn't have
            raise OneUser from None
        raise


def _own_below(folder: int, ownership: Ownership) -> None:
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):
            try:
                inner = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=folder)  # whatever it was a moment ago
            except NotADirectoryError:
                _own_file(folder, name, ownership)
                continue
            try:
                _own_below(inner, ownership)
            finally:
                os.close(inner)
    os.fchown(folder, -1, ownership.group)
    os.fchmod(folder, _mode(os.fstat(folder).st_mode, ownership))


def _own_file(folder: int, name: str, ownership: Ownership) -> None:
    os.chown(name, -1, ownership.group, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return
    try:
        fd = os.open(name, _OPEN, dir_fd=folder)
    except OSError as error:
        if error.errno in (
            errno.ELOOP,
            errno.ENXIO,
            errno.EACCES,
        ):  # it has become a link, a socket or a device
            return
        raise
    try:
        os.fchmod(fd, _mode(os.fstat(fd).st_mode, ownership))
    finally:
        os.close(fd)


def _mode(mode: int, ownership: Ownership) -> int:
    added = _READ if ownership.read_only else _READ_WRITE
    if stat.S_ISDIR(mode):
        added |= stat.S_ISGID | _ENTER
    return stat.S_IMODE(mode) | added
