"""The filter of system calls that containers run behind, made by libseccomp and kept as the kernel takes it.

Making a filter takes some milliseconds and installing one 50 µs: the spawner makes each once, and its children install
it (seccomp(2), SECCOMP_SET_MODE_FILTER).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Sequence
from functools import cache, partial

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers import syscalls

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_COMPARE = {syscalls.LESS: 2, syscalls.EQUAL: 4, syscalls.GREATER: 6, syscalls.MASKED: 7}  # enum scmp_compare
_OPTIMISE = 8  # SCMP_FLTATR_CTL_OPTIMIZE
_ALREADY = -errno.EEXIST
_PR_SET_SECCOMP, _FILTER = 22, 2
_OTHER_ARCHITECTURES = {"x86_64": ("x86", "x32"), "aarch64": ("arm",)}


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@cache
def library() -> ctypes.CDLL | None:
    """libseccomp, or None where the machine has none."""
    try:
        found = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    found.seccomp_init.restype = ctypes.c_void_p
    return found


def has_filter() -> bool:
    """Whether this machine can make a filter."""
    return library() is not None


def make_filter(capabilities: Sequence[str]) -> bytes:
    """containerd's default profile for a container with these capabilities, as classic BPF. Raises KernelError."""
    found = _needed()
    return _made(found, _ERRNO | errno.EPERM, lambda context: _add_rules(found, context, capabilities))


def make_wide_filter(makes_users: bool) -> bytes:
    """One that refuses what reaches beyond namespaces alone, as classic BPF. Raises KernelError."""
    found = _needed()
    return _made(found, _ALLOW, lambda context: _add_refusals(found, context, makes_users))


def _needed() -> ctypes.CDLL:
    found = library()
    if found is None:
        raise KernelError("seccomp", errno=errno.ENOENT, remedy="install libseccomp2")
    return found


def _made(found: ctypes.CDLL, otherwise: int, add: Callable[[ctypes.c_void_p], None]) -> bytes:
    context = ctypes.c_void_p(found.seccomp_init(ctypes.c_uint32(otherwise)))
    try:
        found.seccomp_attr_set(context, _OPTIMISE, 2)  # a tree, not a list of a thousand comparisons
        for name in _OTHER_ARCHITECTURES.get(os.uname().machine, ()):
            token = found.seccomp_arch_resolve_name(name.encode())
            if token:
                found.seccomp_arch_add(context, ctypes.c_uint32(token))
        add(context)
        return _exported(found, context)
    finally:
        found.seccomp_release(context)


def install(program: bytes) -> None:
    """Puts the calling process behind a filter, for ever. Raises KernelError."""
    wanted = _Program(len(program) // 8, program)
    libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.addressof(wanted))


def _add(
    found: ctypes.CDLL, context: ctypes.c_void_p, action: int, name: str, *comparisons: _Comparison
) -> None:
    number = found.seccomp_syscall_resolve_name(name.encode())
    if number == -1:  # __NR_SCMP_ERROR: newer than this libseccomp
        return
    array = (_Comparison * len(comparisons))(*comparisons)
    result = found.seccomp_rule_add_array(
        context, ctypes.c_uint32(action), number, ctypes.c_uint(len(comparisons)), array
    )
    if result not in (0, _ALREADY, -errno.EDOM):  # EDOM: no call of this machine's
        raise KernelError(f"seccomp rule for {name}", errno=-result)


def _add_rules(found: ctypes.CDLL, context: ctypes.c_void_p, capabilities: Sequence[str]) -> None:
    add, machine = partial(_add, found, context), os.uname().machine
    for name in syscalls.allowed(capabilities, machine):
        add(_ALLOW, name)
    for name, argument, operation, value, masked in syscalls.conditions(capabilities, machine):
        add(_ALLOW, name, _Comparison(argument, _COMPARE[operation], value, masked))
    if syscalls.makes_no_namespaces(capabilities):
        add(_ERRNO | errno.ENOSYS, "clone3")


def _add_refusals(found: ctypes.CDLL, context: ctypes.c_void_p, makes_users: bool) -> None:
    add, refused = partial(_add, found, context), _ERRNO | errno.EPERM
    for name in syscalls.SHARED:
        add(refused, name)
    for name, argument, operation, value, masked in syscalls.shared(makes_users, os.uname().machine):
        add(refused, name, _Comparison(argument, _COMPARE[operation], value, masked))
    if not makes_users:
        add(_ERRNO | errno.ENOSYS, "clone3")


def _exported(found: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    fd = os.memfd_create("seccomp")
    try:
        result = found.seccomp_export_bpf(context, fd)
        if result:
            raise KernelError("export a seccomp filter", errno=-result)
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)
