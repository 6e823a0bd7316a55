"""Tracepoints without leaving anything behind: perf events, and tracefs that is mounted nowhere.

A perf event is a descriptor and ends with its last holder (perf_event_open(2)). What a tracepoint is called and
what its records look like is told by tracefs; a detached mount of it (fsopen(2), fsmount(2); Linux 5.2) is a
descriptor too, so nobody sees a mount, in whichever mount namespace.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from emulab.errors import KernelError

# The same on every architecture that emulab can run on (asm-generic/unistd.h).
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_SYS_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _FSCONFIG_CMD_CREATE = 1, 1, 6

_PERF_TYPE_TRACEPOINT = 2
_PERF_SAMPLE_TIME, _PERF_SAMPLE_RAW = 1 << 2, 1 << 10
_DISABLED, _USE_CLOCKID = 1 << 0, 1 << 25
_PERF_FLAG_FD_CLOEXEC = 8
_CLOCK_MONOTONIC = 1
# struct perf_event_attr, version 5 (112 bytes): type, size, config, sample_period, sample_type, read_format, flags,
# wakeup_events, breakpoint's type, address, length; branch_sample_type, sample_regs_user, sample_stack_user,
# clockid, sample_regs_intr, aux_watermark, sample_max_stack
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQQQQIiQIHxx")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _syscall(what: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    words = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise KernelError(what, errno=code, remedy="only the host's root may watch tracepoints")
    return result


def read_tracefs(paths: Sequence[str]) -> list[str]:
    """The texts of files of tracefs, by their paths in it. Raises KernelError."""
    context = _syscall("open tracefs", _SYS_FSOPEN, b"tracefs", _FSOPEN_CLOEXEC)
    try:
        _syscall("set up tracefs", _SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        mount = _syscall("mount tracefs", _SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        return [_read(path, mount) for path in paths]
    except OSError as error:
        raise KernelError(f"read {error.filename} of tracefs", errno=error.errno or 0) from None
    finally:
        os.close(mount)


def _read(path: str, folder: int) -> str:
    with open(path, opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC, dir_fd=folder)) as file:
        return file.read()


def open_tracepoint(number: int, cpu: int) -> int:
    """The descriptor of a perf event for a tracepoint, by its id, of all processes on one CPU.

    It is disabled. Its samples have the time, of CLOCK_MONOTONIC since only clocks that are safe in an NMI are
    allowed, and the tracepoint's record. Raises KernelError.
    """
    call = _SYS_PERF_EVENT_OPEN.get(os.uname().machine)
    if call is None:
        raise KernelError(f"open a perf event on {os.uname().machine}")
    fields = _ATTRIBUTES.pack(
        *(_PERF_TYPE_TRACEPOINT, _ATTRIBUTES.size, number, 1, _PERF_SAMPLE_TIME | _PERF_SAMPLE_RAW, 0),
        *(_DISABLED | _USE_CLOCKID, 1, 0, 0, 0, 0, 0, 0, _CLOCK_MONOTONIC, 0, 0, 0),
    )
    attr = ctypes.create_string_buffer(fields, len(fields))
    return _syscall("open a perf event", call, attr, -1, cpu, -1, _PERF_FLAG_FD_CLOEXEC)
