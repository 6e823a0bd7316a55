"""Names under /run/netns: a namespace is an ordinary named one for `ip netns` and `nsenter`.

A name is a symbolic link to `/proc/PID/fd/N` of the supervisor that holds the namespace, so it costs no mount and
means nothing once the supervisor is gone. Beside it, `/etc/netns/NAME` (which `ip netns exec` binds over
/etc) is a link to a folder of the lab. Only links that point to where ours point are ever removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

NETNS = Path("/run/netns")
ETC_NETNS = Path("/etc/netns")
_NS_GET_NSTYPE, _CLONE_NEWNET = 0xB703, 0x40000000  # linux/nsfs.h, linux/sched.h
_NAMESPACE, _FOLDER = r"/proc/\d+/fd/\d+", r"/.+/etc(/[^/]+)?"  # what our links say


NetnsName = tuple[str, int, int, str]
"""A name, a process and its descriptor that the name is for, and the folder with its files for /etc ("": none)."""


def publish(names: Iterable[NetnsName]) -> None:
    """Makes names. Raises OSError, of the link rather than of what it leads to."""
    try:
        for name, pid, fd, etc in names:
            _link(NETNS, name, f"/proc/{pid}/fd/{fd}", _NAMESPACE)
            if etc:
                _link(ETC_NETNS, name, etc, _FOLDER)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename2 or error.filename) from None


def serve(control: socket.socket) -> None:
    """Makes the names of a memory file that comes over a control socket, and answers when they are there: with null, or
    with the number and the file of the error. Blocks."""
    _, (file, *_), _, _ = socket.recv_fds(control, 1, 1)
    with open(file, "rb") as listed:
        listed.seek(0)
        wanted: list[NetnsName] = [tuple(one) for one in json.load(listed)]
    answer = None
    try:
        publish(wanted)
    except OSError as error:
        answer = [error.errno, error.filename]
    control.send(json.dumps(answer).encode())


def _link(folder: Path, name: str, target: str, form: str) -> None:
    path = f"{folder}/{name}"  # no Path: there are thousands of them
    try:
        os.symlink(target, path)
    except FileNotFoundError:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.symlink(target, path)
    except FileExistsError:
        if _is_left(Path(path), form):
            os.unlink(path)
            os.symlink(target, path)


def retract(name: str, pid: int, folder: Path) -> None:
    """Removes a name, if it is one of process `pid`'s, and its files for /etc, if they are in the lab's folder."""
    _unlink_if(NETNS / name, f"/proc/{pid}/fd/")
    _unlink_if(ETC_NETNS / name, f"{folder}/")


def sweep(lab: str, pid: int, folder: Path) -> None:
    """Removes every name of a dead lab: those that begin with its own and point into process `pid`, its supervisor.

    Its files for /etc go likewise. By now the number may be another process's, a supervisor's even: a name that leads
    to a namespace is left to it.
    """
    for path in _entries(NETNS, lab):
        if not _is_namespace(path):
            _unlink_if(path, f"/proc/{pid}/fd/")
    for path in _entries(ETC_NETNS, lab):
        _unlink_if(path, f"{folder}/")


def _entries(directory: Path, lab: str) -> list[Path]:
    if not directory.is_dir():
        return []
    with os.scandir(directory) as entries:
        return [Path(e.path) for e in entries if e.name.startswith(f"{lab}.") and e.is_symlink()]


def _is_left(path: Path, form: str) -> bool:
    """Whether a name is a lab's that is gone: a link of the form of ours that leads nowhere."""
    try:
        return bool(re.fullmatch(form, os.readlink(path))) and not path.exists()
    except OSError:
        return False


def is_network_namespace(fd: int) -> bool:
    """Whether an open file is one (ioctl_ns(2))."""
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def _is_namespace(path: Path) -> bool:
    """Whether a name leads to a network namespace (namespaces(7): its file is called `net:[NUMBER]`)."""
    try:
        return os.readlink(os.readlink(path)).startswith("net:[")
    except OSError:
        return False


def _unlink_if(path: Path, prefix: str) -> None:
    try:
        if os.readlink(path).startswith(prefix):
            path.unlink()
    except OSError:
        return  # gone already, or no link of ours
