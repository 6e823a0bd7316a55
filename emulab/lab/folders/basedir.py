"""The folder of all labs, and how it is known to be one.

A base folder is emulab's by a file of its own in it, and a lab's folder by what its `lock` says: whatever else there
is stays as it is, however it is named. Base and lab are opened anew for each use, and must be ours alone then.

* A base that isn't there yet, or in which there is no folder but those of labs, becomes emulab's with its first lab.
* One in which there are other folders (a home, say) is refused: they could be taken for labs, and labs for them.
* The mark goes with the last lab, if nothing else is there, so that the base is left as it was found.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emulab.errors import UserError
from emulab.kernel import folders

LOCK = "lock"
_MARK = ".emulab"
_NEW = ".emulab-new"
"""A lab's folder that isn't one yet; there is one at a time, as who makes it holds the mark."""
_BASE_TEXT = b"emulab keeps its labs in this folder; what has no lock file of emulab's in it is no lab.\n"
_LAB_TEXT = b"the lock of a lab of emulab: who holds it is its supervisor\n"
_PATIENCE = 10.0  # seconds; who holds the mark does so for the time of a few system calls
_LOOKS = 3
"""Looks at what is in a base until it is somebody else's: meanwhile others may mark it, and begin and end labs."""
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened_base(path: Path) -> Iterator[int | None]:
    """A descriptor of the folder of labs at `path`; None when there is none.

    Raises UserError when it isn't ours alone, or when it holds other folders than labs.
    """
    try:
        base = folders.open_own(path)
    except FileNotFoundError:
        yield None
        return
    try:
        if not _is_marked(base):
            _refuse_others(base, path)
        yield base
    finally:
        os.close(base)


@contextmanager
def opened_lab(path: Path) -> Iterator[int | None]:
    """A descriptor of a lab's folder; None when there is no lab there. Raises UserError as `opened_base`."""
    with opened_base(path.parent) as base:
        lab = None if base is None else _open_lab(base, path.name)
        try:
            yield lab
        finally:
            if lab is not None:
                os.close(lab)


def lab_names(path: Path) -> list[str]:
    """The names of the folders of labs in the base at `path`. Raises UserError as `opened_base`."""
    with opened_base(path) as base:
        return [] if base is None else [name for name in sorted(os.listdir(base)) if _is_lab(base, name)]


def create(path: Path) -> int:
    """Makes a lab's folder, and returns the lock of the lab, which is held from the folder's first moment on.

    Raises FileExistsError when there is a lab already, UserError when the folder can't be made.
    """
    try:
        base = folders.open_own(path.parent, create=True)
    except FileNotFoundError as error:
        raise UserError(f"{path.parent}: {error.strerror}; {folders.MEND}") from None
    try:
        mark = _hold_mark(base, path.parent)
        try:
            return _create(base, path)
        finally:
            os.close(mark)
    except FileExistsError:
        raise
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {folders.MEND}") from None
    finally:
        os.close(base)


def discard(path: Path, lock: int) -> None:
    """Removes a lab's folder, in which there is nothing but its lock, which the caller holds."""
    with opened_base(path.parent) as base:
        lab = None if base is None else _open_lab(base, path.name)
        if base is None or lab is None:
            return
        try:
            if is_at(lock, lab, LOCK):
                os.unlink(LOCK, dir_fd=lab)
                with suppress(OSError):  # somebody may make it anew right after the lock is gone
                    os.rmdir(path.name, dir_fd=base)
        finally:
            os.close(lab)


def unmark(path: Path) -> None:
    """Takes the mark off a base in which there is nothing else any more."""
    with suppress(OSError, UserError), opened_base(path) as base:
        if base is None or os.listdir(base) != [_MARK]:
            return
        mark = _hold_mark(base, path)
        try:
            if os.listdir(base) == [_MARK]:
                os.unlink(_MARK, dir_fd=base)
        finally:
            os.close(mark)


def says(folder: int, name: str, text: bytes) -> bool:
    """Whether a file is ours alone, and begins with this text."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
        return ours and os.read(fd, len(text)) == text
    finally:
        os.close(fd)


def _is_marked(base: int) -> bool:
    return says(base, _MARK, _BASE_TEXT)


def _open_lab(base: int, name: str) -> int | None:
    lab = folders.open_inner(base, name)
    if lab is None or says(lab, LOCK, _LAB_TEXT):
        return lab
    os.close(lab)
    return None


def _is_lab(base: int, name: str) -> bool:
    lab = _open_lab(base, name)
    if lab is not None:
        os.close(lab)
    return lab is not None


def _refuse_others(base: int, path: Path) -> None:
    """Raises UserError when there are other folders than labs, or links, in an unmarked base."""
    others = _others(base)
    for _ in range(_LOOKS):
        if not others or _is_marked(base):
            return
        others = [name for name in _others(base) if name in others]
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    if others:
        raise UserError(
            f"{path} is no folder of labs: {others[0]!r}{more} in it is something else; "
            f"set EMULAB_RUN_DIR to a folder of its own, such as {path}/emulab"
        )


def _others(base: int) -> list[str]:
    """What is neither a lab nor a file. A lab that is being removed is among them for an instant."""
    with os.scandir(base) as entries:
        names = sorted(e.name for e in entries if e.is_symlink() or e.is_dir(follow_symlinks=False))
    return [name for name in names if not _is_lab(base, name) and name != _NEW]


def _hold_mark(base: int, path: Path) -> int:
    """Marks a base as emulab's, if that is to be, and holds the mark (flock). Raises UserError."""
    end = time.monotonic() + _PATIENCE
    while True:
        if not _is_marked(base):
            _refuse_others(base, path)
            _write_mark(base, path)
        with suppress(FileNotFoundError):
            mark = os.open(_MARK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=base)
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_at(mark, base, _MARK):
                    return mark
            except BlockingIOError:
                pass
            os.close(mark)
        if time.monotonic() >= end:
            raise UserError(f"another command of emulab holds {path}/{_MARK}; end it and try again")
        time.sleep(0.002)


def _write_mark(base: int, path: Path) -> None:
    """Several commands may write it at once, or one be killed in between: all write the same."""
    fd = os.open(
        _MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=base
    )
    try:
        if not _BASE_TEXT.startswith(os.read(fd, len(_BASE_TEXT) + 1)):
            raise UserError(f"{path}/{_MARK} is no file of emulab's; {folders.MEND}")
        os.pwrite(fd, _BASE_TEXT, 0)
    finally:
        os.close(fd)


def is_at(fd: int, folder: int, name: str) -> bool:
    """Whether the open file is the one of this name in the folder."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _create(base: int, path: Path) -> int:
    """Makes a lab's folder beside its place, and moves it there when it is one: nobody finds half of it."""
    with suppress(FileExistsError):  # of a process that was killed here
        os.mkdir(_NEW, 0o700, dir_fd=base)
    new = folders.open_inner(base, _NEW)
    if new is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    try:
        folders.empty(new)
        for part in ("logs", "etc"):
            os.mkdir(part, 0o700, dir_fd=new)
        lock = os.open(LOCK, _CREATE, 0o600, dir_fd=new)
        try:
            os.write(lock, _LAB_TEXT)
            fcntl.flock(lock, fcntl.LOCK_EX)
            _move_into_place(base, path)
        except BaseException:
            os.close(lock)
            folders.empty(new)
            os.rmdir(_NEW, dir_fd=base)
            raise
        return lock
    finally:
        os.close(new)


def _move_into_place(base: int, path: Path) -> None:
    """Raises FileExistsError when there is a lab already, UserError when there is something else."""
    # A dead lab may be swept between the first look and the second, but nobody makes another.
    for _ in range(2):
        try:
            os.rename(_NEW, path.name, src_dir_fd=base, dst_dir_fd=base)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if _is_lab(base, path.name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    raise UserError(f"{path} is there and is no lab: use another name for the lab")
