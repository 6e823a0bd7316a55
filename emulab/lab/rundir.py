"""Where a lab's files are, which labs there are, and what is left of dead ones.

`$EMULAB_RUN_DIR`, else `/run/emulab` for root, else `$XDG_RUNTIME_DIR/emulab`, else `/tmp/emulab-UID`; a folder a
lab, mode 0700: `lock` (held by the supervisor for as long as it lives, so the kernel tells who is
alive), `lab.json`, `control.sock`, `supervisor.log`, `logs/`, `etc/`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from emulab.errors import UserError
from emulab.kernel import cgroups, names

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class LabInfo:
    """What is written down of a running lab. `pid` is the supervisor's as the host sees it."""

    name: str
    pid: int
    started: str


def base() -> Path:
    """The folder of all labs of this user."""
    explicit = os.environ.get("EMULAB_RUN_DIR")
    if explicit:
        return Path(explicit)
    if os.geteuid() == 0:
        return Path("/run/emulab")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "emulab"
    return Path(f"/tmp/emulab-{os.geteuid()}")


def check_name(name: str) -> str:
    """The lab's name, if it may be one. Raises UserError."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a lab: use up to 40 lower-case letters, digits and '-'")
    return name


def folder(name: str) -> Path:
    return base() / check_name(name)


def make(name: str) -> Path:
    """Makes the lab's folder, private to its owner. Raises UserError when somebody else owns it."""
    top = base()
    try:
        top.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        path = folder(name)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}; set EMULAB_RUN_DIR to a folder of your own"
        ) from None
    if path.stat().st_uid != os.geteuid() or top.stat().st_uid not in (0, os.geteuid()):
        raise UserError(f"{path} belongs to another user; set EMULAB_RUN_DIR to a folder of your own")
    return path


def claim(name: str) -> tuple[Path, int]:
    """A fresh folder for a lab, and the lock that makes it ours. Raises UserError when the lab is up already."""
    while True:
        try:
            path = make(name)
            lock = take_lock(path, patience=0.3)
            if lock is None:
                raise UserError(f"lab {name!r} is up already")
            _clear(path)
            for part in ("logs", "etc"):
                (path / part).mkdir(mode=0o700, exist_ok=True)
            return path, lock
        except FileNotFoundError:
            continue  # swept between two of these steps, as it looked dead


def take_lock(path: Path, patience: float = 0.0) -> int | None:
    """The lab's lock as a descriptor that holds it, or None when a living supervisor has it.

    `patience` is how many seconds to try for: whoever looks after labs holds a lock for a moment. Blocks.
    Raises FileNotFoundError when there is no such folder.
    """
    end = time.monotonic() + patience
    while True:
        fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path / "lock"):
                return fd
            os.close(fd)  # whoever had it has removed it meanwhile: it locks nothing any more
            continue
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() >= end:
                return None
        time.sleep(0.005)


def _is_at(fd: int, path: Path) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def is_alive(path: Path) -> bool:
    """Whether a supervisor holds the lab. Looks without taking the lock from anybody who wants it."""
    try:
        fd = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def write_info(path: Path, info: LabInfo) -> None:
    temporary = path / "lab.json.new"
    temporary.write_text(json.dumps(asdict(info)))
    temporary.replace(path / "lab.json")


def read_info(path: Path) -> LabInfo | None:
    try:
        return LabInfo(**json.loads((path / "lab.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def labs() -> Iterator[Path]:
    """The folders of all labs, dead ones included."""
    with suppress(OSError):
        yield from sorted(p for p in base().iterdir() if p.is_dir() and _NAME.fullmatch(p.name))


def sweep(path: Path) -> bool:
    """Removes what a dead lab left: its names, its cgroups, its folder. Returns whether there was any."""
    try:
        fd = take_lock(path)
    except FileNotFoundError:
        return False
    if fd is None:
        return False
    try:
        remove(path)
    finally:
        os.close(fd)
    return True


def _clear(path: Path) -> None:
    """Removes what a dead lab left outside its folder, and its files inside, but for the lock, which we hold."""
    info = read_info(path)
    if info is not None:
        names.sweep(path.name, info.pid, path)
    cgroups.sweep(path.name)
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        elif entry.name != "lock":
            os.unlink(entry.path)


def remove(path: Path) -> None:
    """Removes the lab's folder; the caller holds its lock, which goes last: until then nobody else begins here."""
    _clear(path)
    with suppress(OSError):  # somebody may make it anew right after the lock is gone
        os.unlink(path / "lock")
        path.rmdir()


def sweep_dead() -> None:
    """Sweeps every lab whose supervisor is gone. Every command begins with it."""
    for path in labs():
        with suppress(PermissionError):  # another user's
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


@contextmanager
def socket_path(path: Path) -> Iterator[str]:
    """A path for the control socket that is short enough for a sockaddr_un (108 bytes) wherever the folder is."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/control.sock"
    finally:
        os.close(fd)
