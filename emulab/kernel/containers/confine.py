"""Takes from a process, just before it becomes a container's program, what the container may not do.

The order matters: the filter of system calls is installed while the process may still do so without having given up all
new privileges, then the capabilities that the program could ever get are bounded, and its users are set last.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers import seccomp
from emulab.kernel.containers.rights import CAPABILITIES, Rights

_MOST, DIGITS = (1 << 31) - 1, 20
"""The highest number that a user may have, and how many digits of one are looked at."""
_LARGEST = 1 << 20  # octets of /etc/passwd and /etc/group that are looked at
_filter_for = lru_cache(maxsize=64)(seccomp.make_filter)
_wide_filter = lru_cache(maxsize=2)(seccomp.make_wide_filter)


class Credentials(NamedTuple):
    uid: int
    gid: int
    groups: tuple[int, ...] | None
    home: str


def filter_of(rights: Rights) -> bytes:
    """The filter of system calls, b"" for none. Raises KernelError where the machine can't make it."""
    if rights.seccomp == "none" or seccomp.library() is None:
        return b""
    if rights.seccomp == "unconfined":
        return _wide_filter(rights.makes_users)
    return _filter_for(tuple(sorted(rights.capabilities)))


HARMLESS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""How a file is opened that may be anything."""

Open = Callable[[str], int]
"""Opens a file of the container's by its path there, as `HARMLESS` says. Raises OSError."""


def _open_here(path: str) -> int:
    return os.open(path, HARMLESS)


def identify(rights: Rights, opened: Open = _open_here) -> Credentials:
    """Who the program runs as, by the container's own /etc/passwd and /etc/group. Raises KernelError."""
    name, _, group = rights.user.partition(":")
    user = _entry(_lines("/etc/passwd", 7, opened), name)
    if user is None and not name.isdecimal():
        raise KernelError(f"unable to find user {name}: no matching entries in passwd file")
    if rights.gid is not None:
        gid = rights.gid
    elif group:
        gid = _group(group, opened)
    else:
        gid = _number(user[3]) if user else 0
    groups = rights.groups
    if groups is not None and user is not None and rights.merges_groups:
        lines = _lines("/etc/group", 4, opened)
        own = (_number(line[2]) for line in lines if user[0] in line[3].split(","))
        groups = tuple(dict.fromkeys((*own, *groups)))
    return Credentials(
        _number(user[2] if user else name),
        gid,
        None if groups is None else tuple(groups),
        user[5] if user else "/",
    )


def _entry(lines: list[list[str]], name: str) -> list[str] | None:
    """That of a name, or of a number, which is never a name: a container may give root one like it."""
    column = 2 if name.isdecimal() else 0
    return next((line for line in lines if line[column] == name), None)


def _number(text: str) -> int:
    """Of a user or group. The kernel takes -1, as which it sees 4294967295, for leave to stay who one is: root.

    Raises KernelError.
    """
    if not text.isdecimal() or len(text) > DIGITS or int(text) > _MOST:
        raise KernelError(f"uids and gids must be in range 0-{_MOST}: {text[:DIGITS]}")
    return int(text)


def _group(name: str, opened: Open) -> int:
    found = _entry(_lines("/etc/group", 4, opened), name)
    if found is None and not name.isdecimal():
        raise KernelError(f"unable to find group {name}: no matching entries in group file")
    return _number(found[2] if found else name)


def _lines(path: str, words: int, opened: Open) -> list[list[str]]:
    """Lines of a table of users or groups; those that aren't in its form are nobody's."""
    lines = [line.split(":") for line in _content(path, opened).splitlines()]
    return [line for line in lines if len(line) == words and line[2].isdecimal()]


def _content(path: str, opened: Open) -> str:
    """The begin of a file that a container may have made: of anything else nothing is read, and nobody waits for it."""
    try:
        fd = opened(path)
    except OSError:
        return ""
    try:
        return os.read(fd, _LARGEST).decode(errors="replace") if stat.S_ISREG(os.fstat(fd).st_mode) else ""
    except OSError:
        return ""
    finally:
        os.close(fd)


def confine(rights: Rights, identity: Credentials, program: bytes) -> None:
    """Makes the calling process have these rights and no others. Raises KernelError and OSError."""
    libc.join_new_keyring()
    if rights.no_new_privileges:
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    if program:
        seccomp.install(program)
    kept = {CAPABILITIES[name] for name in rights.capabilities}
    last = _last_capability()
    for number in range(last + 1):
        if number not in kept:
            libc.prctl(libc.PR_CAPBSET_DROP, number)
    libc.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_CLEAR_ALL)
    if identity.groups is not None:
        os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)  # which takes all capabilities, but from root
    if identity.uid == 0:
        mask = sum(1 << number for number in kept) & libc.permitted_capabilities()
        libc.set_capabilities(mask, mask, 0)


def _last_capability() -> int:
    """The highest number that this kernel knows; a higher one can't be dropped, and nobody has it."""
    low, high = 0, 63
    while low < high:
        middle = (low + high + 1) // 2
        if libc.knows_capability(middle):
            low = middle
        else:
            high = middle - 1
    return low
