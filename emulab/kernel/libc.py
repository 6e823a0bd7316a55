"""The system calls for namespaces and mounts that Python 3.11 does not offer."""

from __future__ import annotations

import ctypes
import os
import struct

from emulab.errors import KernelError

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 32, 4096, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2

RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x02, 0x08, 0x10

PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8  # malloc.h

_OPENAT2 = 437  # on every machine

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, operation: str, remedy: str = "") -> None:
    if result != 0:
        raise KernelError(operation, errno=ctypes.get_errno(), remedy=remedy)


def syscall(
    operation: str,
    number: int,
    *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None,
    remedy: str = "",
) -> int:
    """A system call that has no function in the C library. Raises KernelError."""
    words = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise KernelError(operation, errno=ctypes.get_errno(), remedy=remedy)
    return result


def unshare(flags: int) -> None:
    """Moves the calling thread into new namespaces. Raises KernelError."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})", "run as root, or allow user namespaces")


def setns(fd: int, kind: int) -> None:
    """Moves the calling thread into the namespace behind `fd`. Raises KernelError."""
    _check(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, filesystem: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises KernelError."""
    result = _libc.mount(
        *(os.fsencode(source), os.fsencode(target), filesystem.encode() or None),
        *(ctypes.c_ulong(flags), os.fsencode(data) or None),
    )
    _check(result, f"mount {source} on {target}")


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2). Raises KernelError."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def open_below(folder: int, path: str, flags: int, resolve: int) -> int:
    """openat2(2): opens a path below an open folder, whose links are followed as `resolve` says. Raises OSError."""
    how = ctypes.create_string_buffer(struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve), 24)
    fd: int = _libc.syscall(_OPENAT2, folder, os.fsencode(path), how, ctypes.c_size_t(24))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return fd


def inotify_init(flags: int) -> int:
    """inotify_init1(2). Raises KernelError."""
    fd: int = _libc.inotify_init1(flags)
    _check(min(fd, 0), "inotify_init1", "raise fs.inotify.max_user_instances")
    return fd


def inotify_add_watch(fd: int, path: str, mask: int) -> None:
    """inotify_add_watch(2). Raises KernelError."""
    watch = _libc.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(mask))
    _check(min(watch, 0), f"inotify_add_watch {path}", "raise fs.inotify.max_user_watches")


def die_with_parent(signal: int) -> None:
    """The calling process gets `signal` when its parent ends (prctl PR_SET_PDEATHSIG)."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def share_one_heap() -> None:
    """All threads allocate from one heap (mallopt M_ARENA_MAX).

    glibc gives each thread one of its own, and what short-lived ones leave there stays with the process.
    """
    _libc.mallopt(_M_ARENA_MAX, 1)


def give_back_free_memory() -> None:
    """Returns what lies free in the heap to the kernel (malloc_trim), for which free(3) waits until its end is free."""
    _libc.malloc_trim(0)
