"""The system calls for namespaces and mounts that Python 3.11 does not offer."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from emulab.errors import KernelError

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MS_SLAVE = 32, 4096, 8192, 16384, 1 << 18, 1 << 19
MNT_DETACH = 2

RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x02, 0x08, 0x10

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE, PR_SET_NAME, PR_CAPBSET_DROP = 4, 15, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_M_ARENA_MAX = -8  # malloc.h

_PR_CAPBSET_READ = 23
_CAPABILITY_VERSION_3 = 0x20080522
_PIVOT_ROOT = {"x86_64": 155, "s390x": 217, "ppc64le": 203}.get(os.uname().machine, 41)
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _FSCONFIG_CMD_CREATE = 1, 1, 6
_CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 436, 437, 442  # on every machine
_CLOSE_RANGE_CLOEXEC = 4
_AT_FDCWD, _AT_RECURSIVE, _AT_EMPTY_PATH = -100, 0x8000, 0x1000
_TRIES_IN_MOTION = 1000
_ARG_START = 45  # of /proc/PID/stat behind the name: its 48th field
_OPEN_TREE_CLONE, _MOVE_MOUNT_FLAGS, _MOUNT_ATTR_IDMAP = 1, 0x14, 0x100000  # F_EMPTY_PATH and T_SYMLINKS

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


def set_mount_attributes(target: str, attributes: int, below: bool) -> None:
    """mount_setattr(2): sets attributes (MOUNT_ATTR_…) of a mount, and of those below it. Raises KernelError."""
    wanted = ctypes.create_string_buffer(struct.pack("=QQQQ", attributes, 0, 0, 0), 32)
    flags = _AT_RECURSIVE if below else 0
    words = (_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), flags, wanted, 32)
    syscall(f"mount_setattr {target}", *words)


def clone_mount(source: int, attributes: int, users: int = -1) -> int:
    """A descriptor of a new mount of what `source` is open on, with these attributes (MOUNT_ATTR_…).

    Its owners are as the user namespace `users` maps them, if it isn't -1. It is mounted nowhere yet: open_tree(2),
    mount_setattr(2). Raises KernelError.
    """
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | _AT_EMPTY_PATH | os.O_CLOEXEC
    fd = syscall("open_tree", _OPEN_TREE, source, b"", flags)
    try:
        _set_attributes(fd, attributes, 0, "restrict a mount", "")
        if users >= 0:
            remedy = "its file system doesn't support that"
            _set_attributes(fd, _MOUNT_ATTR_IDMAP, users, "map the users of a mount", remedy)
    except KernelError:
        os.close(fd)
        raise
    return fd


def _set_attributes(mount: int, attributes: int, users: int, operation: str, remedy: str) -> None:
    if attributes:
        wanted = ctypes.create_string_buffer(struct.pack("=QQQQ", attributes, 0, 0, users), 32)
        words = (_MOUNT_SETATTR, mount, b"", _AT_RECURSIVE | _AT_EMPTY_PATH, wanted, 32)
        syscall(operation, *words, remedy=remedy)


def attach_mount(mount: int, target: str) -> None:
    """Mounts what `clone_mount` has made. Raises KernelError."""
    words = (_MOVE_MOUNT, mount, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_FLAGS)
    syscall(f"move_mount to {target}", *words)


def new_filesystem(kind: str) -> int:
    """A descriptor of a new file system of a kind, mounted nowhere: fsopen(2), fsmount(2). Raises KernelError."""
    operation = f"make a file system {kind}"
    context = syscall(operation, _FSOPEN, kind.encode(), _FSOPEN_CLOEXEC)
    try:
        syscall(operation, _FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return syscall(operation, _FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2). Raises KernelError."""
    syscall("pivot_root", _PIVOT_ROOT, os.fsencode(new), os.fsencode(old))


def open_below(folder: int, path: str, flags: int, resolve: int) -> int:
    """openat2(2): opens a path below an open folder, whose links are followed as `resolve` says. Raises OSError.

    Wherever something is moved or mounted on the machine meanwhile, the kernel can't tell where `..` leads, and says so
    (EAGAIN): the next try may be in a quieter moment.
    """
    how = ctypes.create_string_buffer(struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve), 24)
    for _ in range(_TRIES_IN_MOTION):
        fd: int = _libc.syscall(_OPENAT2, folder, os.fsencode(path), how, ctypes.c_size_t(24))
        if fd >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return fd


def close_on_exec_from(fd: int) -> None:
    """No descriptor from this one on outlives execve(2): close_range(2). Raises KernelError."""
    syscall("close_range", _CLOSE_RANGE, fd, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)


def prctl(operation: int, *arguments: int) -> None:
    """prctl(2). Raises KernelError."""
    words = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(operation, *words), f"prctl({operation})")


def join_new_keyring() -> None:
    """Leaves the session's keys, the host's (keyctl KEYCTL_JOIN_SESSION_KEYRING), where the kernel has keys at all."""
    number = {"x86_64": 250, "s390x": 280, "ppc64le": 271}.get(os.uname().machine, 219)
    _libc.syscall(ctypes.c_long(number), ctypes.c_long(1), None)


def name_thread(name: bytes) -> None:
    """What `ps` calls the calling thread: up to 15 octets (prctl PR_SET_NAME). Raises KernelError."""
    text = ctypes.create_string_buffer(name)
    prctl(PR_SET_NAME, ctypes.addressof(text))


def show_command(words: bytes) -> None:
    """What /proc shows as this process's command line (proc_pid_cmdline(5)): it is read from where the kernel put it.

    The kernel shows text up to its first null byte where the last byte isn't null, as of who writes over it to be told
    from others (`get_mm_proctitle` in fs/proc/base.c). Raises OSError.
    """
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = (int(field) for field in fields[_ARG_START : _ARG_START + 2])
    room = end - start - 2
    if start and room > 0:
        ctypes.memmove(start, words[:room].ljust(room + 1, b"\0") + b"\xff", room + 2)


def knows_capability(number: int) -> bool:
    """Whether the kernel has a capability of this number (prctl PR_CAPBSET_READ)."""
    return bool(_libc.prctl(_PR_CAPBSET_READ, *(ctypes.c_ulong(word) for word in (number, 0, 0, 0))) >= 0)


def permitted_capabilities() -> int:
    """Those that the calling thread may have, as a bit mask (capget(2)). Raises KernelError."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, data), "capget")
    words = struct.unpack("=6I", data.raw)
    return int(words[1] | words[4] << 32)


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of the calling thread, as bit masks. Raises KernelError."""
    sets = (effective, permitted, inheritable)
    low, high = [s & 0xFFFFFFFF for s in sets], [s >> 32 for s in sets]
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    data = ctypes.create_string_buffer(struct.pack("=6I", *low, *high), 24)
    _check(_libc.capset(header, data), "capset")


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
