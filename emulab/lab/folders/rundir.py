"""Where a lab's files are, which labs there are, and what is left of dead ones.

`$EMULAB_RUN_DIR`, else `/run/emulab` for root, else `$XDG_RUNTIME_DIR/emulab`, else `/tmp/emulab-UID`; a folder a
lab, mode 0700: `lock` (held by the supervisor for as long as it lives, so the kernel tells who is
alive), `lab.json`, `control.sock`, `supervisor.log`, `logs/`, `etc/`. What such a folder is known by: `basedir`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emulab.errors import EmulabError, UserError
from emulab.kernel import folders, names
from emulab.lab.folders import basedir, lastlog
from emulab.lab.folders.basedir import LOCK, opened_lab
from emulab.lab.folders.disk import writing

_NAME = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
_INFO = "lab.json"
_LARGEST_INFO = 4096  # bytes


class LabInfo:
    """What is written down of a running lab. `pid` is the supervisor's as the host sees it.

    No dataclass, as every command would load what makes those: a fifth of the time that `emulab exec` takes.
    """

    def __init__(self, name: str, pid: int, started: str) -> None:
        self.name = name
        self.pid = pid
        self.started = started

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabInfo) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.name, self.pid, self.started))

    def __repr__(self) -> str:
        return f"LabInfo({self.name!r}, {self.pid}, {self.started!r})"


def base() -> Path:
    """The folder of all labs of this user."""
    explicit = os.environ.get("EMULAB_RUN_DIR")
    if explicit:
        return Path(explicit).absolute()
    if os.geteuid() == 0:
        return Path("/run/emulab")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime).absolute() / "emulab"
    return Path(f"/tmp/emulab-{os.geteuid()}")


def check_name(name: str) -> str:
    """The lab's name, if it may be one. Raises UserError."""
    if not re.fullmatch(_NAME, name):
        raise UserError(f"{name!r} is no name for a lab: use up to 40 lower-case letters, digits and '-'")
    return name


def folder(name: str) -> Path:
    return base() / check_name(name)


def make(name: str) -> Path:
    """Makes the lab's folder, if there is none. Raises UserError when it can't be."""
    path = folder(name)
    with suppress(FileExistsError):
        os.close(basedir.create(path))
    return path


def claim(name: str) -> tuple[Path, int]:
    """A fresh folder for a lab, and the lock that makes it ours. Raises UserError when the lab is up already."""
    path = folder(name)
    while True:
        with suppress(FileExistsError):
            return path, basedir.create(path)
        lock = None
        with suppress(FileNotFoundError):  # swept meanwhile, as it looked dead
            lock = take_lock(path, patience=0.3)
            if lock is None:
                raise UserError(f"lab {name!r} is up already")
        if lock is not None:
            _remove_and_release(path, lock)


def take_lock(path: Path, patience: float = 0.0) -> int | None:
    """The lab's lock as a descriptor that holds it, or None when a living supervisor has it.

    `patience` is how many seconds to try for: whoever looks after labs holds a lock for a moment. Blocks.
    Raises FileNotFoundError when there is no such lab.
    """
    end = time.monotonic() + patience
    while True:
        with opened_lab(path) as lab:
            if lab is None:
                raise FileNotFoundError(path)
            fd = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=lab)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if basedir.is_at(fd, lab, LOCK):
                    return fd
                os.close(fd)  # whoever had it has removed it meanwhile: it locks nothing any more
                continue
            except BlockingIOError:
                os.close(fd)
                if time.monotonic() >= end:
                    return None
        time.sleep(0.005)


def is_alive(path: Path) -> bool:
    """Whether a supervisor holds the lab. Looks without taking the lock from anybody who wants it."""
    with opened_lab(path) as lab:
        if lab is None:
            return False
        try:
            fd = os.open(LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=lab)
        except OSError:
            return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def holds(pid: int, path: Path) -> bool:
    """Whether a process holds the lab's lock, which its supervisor does and what that has forked.

    /proc tells of each of its open files which it is, and whether it is locked (proc_pid_fdinfo(5)).
    """
    with opened_lab(path) as lab:
        if lab is None:
            return False
        with suppress(OSError):
            lock = os.stat(LOCK, dir_fd=lab, follow_symlinks=False)
            for number in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), lock):
                        text = Path(f"/proc/{pid}/fdinfo/{number}").read_text()
                        if re.search(r"^lock:.*FLOCK .* WRITE ", text, re.MULTILINE):
                            return True
    return False


def write_info(path: Path, info: LabInfo) -> None:
    """Raises FileNotFoundError when there is no such lab."""
    with opened_lab(path) as lab:
        if lab is None:
            raise FileNotFoundError(path)
        new = f"{_INFO}.new"
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=lab)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=lab)
        with open(fd, "w") as file:
            file.write(json.dumps(vars(info)))
        os.rename(new, _INFO, src_dir_fd=lab, dst_dir_fd=lab)


def read_info(path: Path) -> LabInfo | None:
    with opened_lab(path) as lab:
        return None if lab is None else _read_info(lab, path.name)


def _read_info(lab: int, name: str) -> LabInfo | None:
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(_INFO, flags, dir_fd=lab), "rb") as file:
            info = LabInfo(**json.loads(file.read(_LARGEST_INFO)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    right = info.name == name and type(info.pid) is int and 0 < info.pid < 1 << 31
    return info if right and isinstance(info.started, str) else None


def labs() -> Iterator[Path]:
    """The folders of all labs, dead ones included. Raises UserError when their base isn't emulab's."""
    top = base()
    yield from (top / name for name in basedir.lab_names(top) if re.fullmatch(_NAME, name))


def sweep(path: Path) -> bool:
    """Removes what a dead lab left: its names, its cgroups, its folder, but for its last log.

    Returns whether there was any. Raises EmulabError when something can't be removed.
    """
    try:
        lock = take_lock(path)
    except FileNotFoundError:
        return False
    if lock is None:
        return False
    _remove_and_release(path, lock)
    return True


def _remove_and_release(path: Path, lock: int) -> None:
    try:
        remove(path, lock, keep_log=True)
    finally:
        os.close(lock)


def remove(path: Path, lock: int, keep_log: bool) -> None:
    """Removes what a lab left outside its folder, and the folder; the caller holds its lock.

    The lock goes last: until then nobody else begins here. A folder that has come to the same place meanwhile stays.
    Raises EmulabError when something can't be removed.
    """
    with opened_lab(path) as lab:
        if lab is None or not basedir.is_at(lock, lab, LOCK):
            basedir.unmark(path.parent)
            return
        info = _read_info(lab, path.name)
        if info is not None:
            names.sweep(path.name, info.pid, path)
        from emulab.kernel.cgroups import sweeping  # here: most commands find no dead lab

        sweeping.sweep(path.name)
        if keep_log:
            lastlog.keep(path, lab)
        else:
            lastlog.forget(path)
        try:
            folders.empty(lab, but=(LOCK,))
        except OSError as error:
            raise EmulabError(
                f"{path}: {error.strerror} ({error.filename}): it can't be removed; is something mounted there?"
            ) from None
    basedir.discard(path, lock)
    basedir.unmark(path.parent)


def sweep_dead() -> None:
    """Sweeps every lab whose supervisor is gone. Every command begins with it. Raises UserError as `labs`."""
    for path in labs():
        with suppress(EmulabError, OSError):  # whoever asks for it is told
            if not is_alive(path):
                sweep(path)


def wait_gone(path: Path, seconds: float = 10.0) -> bool:
    """Waits until the lab's supervisor has ended, then sweeps. Returns whether it did in time. Blocks."""
    end = time.monotonic() + seconds
    while is_alive(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    sweep(path)
    return True


def open_log(path: Path) -> int:
    """A descriptor to write the supervisor's log to. Raises FileNotFoundError, or KernelError without room."""
    with opened_lab(path) as lab:
        if lab is None:
            raise FileNotFoundError(path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with writing(path / lastlog.LOG):
            return os.open(lastlog.LOG, flags, 0o600, dir_fd=lab)


@contextmanager
def socket_path(path: Path) -> Iterator[str]:
    """A path for the control socket that is short enough for a sockaddr_un (108 bytes) wherever the folder is.

    Raises FileNotFoundError when there is no folder, UserError when it isn't ours alone.
    """
    fd = folders.open_own(path)
    try:
        yield f"/proc/self/fd/{fd}/control.sock"
    finally:
        os.close(fd)
