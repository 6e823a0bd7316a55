"""Folders that nobody else can put something else in the place of, and removing what is in one.

Who may write to a folder may exchange what is in it at any moment, also between a look at it and its use (CWE-367).
So a path is walked from the root, a descriptor a step, and every folder on it must be the system's or ours, and
writable by nobody else; in a sticky one, like /tmp, only its owner may move what is in it (inode(7)). What was found
is used by its descriptor. Nothing here follows a link that somebody else has made (CWE-59, CWE-379).
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Container
from contextlib import suppress
from itertools import count
from pathlib import Path

from emulab.errors import UserError

MEND = "set EMULAB_RUN_DIR to a folder of your own"
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = 40  # as many as the kernel follows (path_resolution(7))
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def open_own(path: Path, create: bool = False, mend: str = MEND) -> int:
    """A descriptor of a folder that is ours alone, made with its parents if it isn't there and `create`.

    Raises FileNotFoundError when it isn't there, UserError that says how to mend it when it isn't ours alone.
    """
    step = _walk(path, create, mend)
    try:
        _refuse_foreign(step, path, mend)
        return os.open(".", _READ, dir_fd=step)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {mend}") from None
    finally:
        os.close(step)


def open_inner(folder: int, name: str) -> int | None:
    """A descriptor of the folder `name` in a folder; None when there is none, or when it isn't ours alone."""
    try:
        fd = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return None
    found = os.fstat(fd)
    if found.st_uid == os.geteuid() and not found.st_mode & _OTHERS:
        return fd
    os.close(fd)
    return None


def _walk(path: Path, create: bool, mend: str) -> int:
    """Opens a path's last part (O_PATH), which may be no link. Raises what `open_own` raises."""
    rest = list(reversed(path.absolute().parts[1:]))
    fd = os.open("/", _STEP)
    links = 0
    try:
        while rest:
            _refuse_unsafe(fd, path, mend)
            name = rest.pop()
            here, fd = fd, _step(fd, name, create, last=not rest)
            found = os.fstat(fd)
            if stat.S_ISDIR(found.st_mode):
                os.close(here)
                continue
            if not stat.S_ISLNK(found.st_mode):
                os.close(here)
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            target = os.readlink("", dir_fd=fd)
            os.close(fd)
            fd = here
            links += 1
            if not rest or links > _LINKS:
                raise UserError(f"{path} is a symbolic link, which may come to mean another folder; {mend}")
            if not _trusted(found.st_uid):
                raise UserError(f"{path} leads over a symbolic link of another user ({name}); {mend}")
            rest += reversed([part for part in Path(target).parts if part != "/"])
            if target.startswith("/"):
                os.close(fd)
                fd = os.open("/", _STEP)
    except FileNotFoundError:
        os.close(fd)
        raise
    except OSError as error:
        os.close(fd)
        raise UserError(f"{path}: {error.strerror}; {mend}") from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _step(folder: int, name: str, create: bool, last: bool) -> int:
    try:
        return os.open(name, _STEP, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, 0o700 if last else 0o755, dir_fd=folder)
    return os.open(name, _STEP, dir_fd=folder)


def _refuse_unsafe(fd: int, path: Path, mend: str) -> None:
    """Raises UserError when somebody else may exchange what is in the folder `fd`, which is above `path`."""
    found = os.fstat(fd)
    if not _trusted(found.st_uid):
        where = os.readlink(f"/proc/self/fd/{fd}")
        raise UserError(
            f"{path} is below {where}, which belongs to another user (uid {found.st_uid}); {mend}"
        )
    if not found.st_mode & stat.S_ISVTX and _shared(fd, found):
        where = os.readlink(f"/proc/self/fd/{fd}")
        raise UserError(f"{path} is below {where}, to which others may write: chmod go-w {where}, or {mend}")


def _refuse_foreign(fd: int, path: Path, mend: str) -> None:
    found = os.fstat(fd)
    if found.st_uid != os.geteuid():
        raise UserError(f"{path} belongs to another user (uid {found.st_uid}); {mend}")
    if _shared(fd, found):
        raise UserError(f"{path} is writable by others: chmod go-w {path}, or {mend}")


def _trusted(uid: int) -> bool:
    """Whether the owner of a folder above ours may do with it what he likes: we ourselves, and the system.

    In a user namespace the system's files belong to nobody whom it knows (user_namespaces(7)).
    """
    if uid in (0, os.geteuid()):
        return True
    return uid == int(_read("/proc/sys/kernel/overflowuid")) and not knows_all_users()


def knows_all_users() -> bool:
    """Whether the users of this user namespace are those of the machine: root may do there what root may."""
    return _read("/proc/self/uid_map").split() == ["0", "0", str(0xFFFFFFFF)]


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _shared(fd: int, found: os.stat_result) -> bool:
    """Whether others may write to a folder. A group of the owner alone, as Debian gives everybody one, is no other."""
    if found.st_mode & stat.S_IWOTH:
        return True
    if not found.st_mode & stat.S_IWGRP:
        return False
    with suppress(OSError):  # with an ACL, the group's bits are those of whoever it names (acl(5))
        os.getxattr(f"/proc/self/fd/{fd}", "system.posix_acl_access")
        return True
    try:
        owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid)
    except KeyError:
        return True
    return group.gr_name != owner or not {owner}.issuperset(group.gr_mem)


def empty(folder: int, but: Container[str] = ()) -> None:
    """Removes everything in a folder but the names in `but`; follows no link and leaves what is mounted in it.

    Every folder in it is moved before it is emptied: the kernel moves no mount point (EBUSY), and what is deep comes
    up in this way, so that two descriptors do for any depth. Raises an OSError after having removed what it could.
    """
    moved: set[str] = set()
    failed: dict[str, OSError] = {}
    while left := [n for n in os.listdir(folder) if n not in but and n not in failed]:
        for name in left:
            try:
                if name not in moved:
                    _take(folder, name, folder, moved)
                else:
                    _empty_moved(folder, name, moved)
                    os.rmdir(name, dir_fd=folder)
            except FileNotFoundError:
                continue
            except NotADirectoryError:  # it was exchanged for a link just before it was moved
                os.unlink(name, dir_fd=folder)
            except OSError as error:
                failed[name] = error
    if failed:
        raise next(iter(failed.values()))


def _empty_moved(folder: int, name: str, moved: set[str]) -> None:
    failed: list[OSError] = []
    inner = _open_writable(folder, name)
    try:
        for entry in os.listdir(inner):
            try:
                _take(inner, entry, folder, moved)
            except FileNotFoundError:
                continue
            except OSError as error:
                failed.append(error)
    finally:
        os.close(inner)
    if failed:
        raise failed[0]


def _take(inner: int, name: str, folder: int, moved: set[str]) -> None:
    """Removes a file; moves a folder up into `folder` under a name that it notes in `moved`."""
    try:
        os.unlink(name, dir_fd=inner)
        return
    except (IsADirectoryError, PermissionError):
        pass  # EISDIR is Linux's, EPERM POSIX's word for a folder (unlink(2))
    for number in count(len(moved)):
        new = f".removed-{number}"
        try:
            _move(inner, name, folder, new)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            continue  # there is one of that name already
        moved.add(new)
        return


def _move(inner: int, name: str, folder: int, new: str) -> None:
    try:
        os.rename(name, new, src_dir_fd=inner, dst_dir_fd=folder)
    except PermissionError:  # moving a folder to another changes its `..` (rename(2): EACCES)
        os.close(_open_writable(inner, name))
        os.rename(name, new, src_dir_fd=inner, dst_dir_fd=folder)


def _open_writable(folder: int, name: str) -> int:
    """Opens a folder, and takes the right to change what is in it where its mode doesn't give it."""
    step = os.open(name, _STEP | os.O_DIRECTORY, dir_fd=folder)
    try:
        mode = os.fstat(step).st_mode
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(f"/proc/self/fd/{step}", stat.S_IMODE(mode) | stat.S_IRWXU)
        return os.open(".", _READ, dir_fd=step)
    finally:
        os.close(step)
