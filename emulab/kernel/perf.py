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
from emulab.kernel.libc import syscall

# The same on every architecture that emulab can run on (asm-generic/unistd.h).
_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_SYS_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _FSCONFIG_CMD_CREATE = 1, 1, 6

_PERF_TYPE_TRACEPOINT = 2
_DISABLED = 1 << 0
_PERF_FLAG_FD_CLOEXEC = 8
# struct perf_event_attr as it was first (64 bytes): type, size, config, sample_period, sample_type, read_format, flags
_ATTRIBUTES = struct.Struct("=IIQQQQQ16x")

_REMEDY = "only the host's root may watch tracepoints"


def read_tracefs(paths: Sequence[str]) -> list[str]:
    """The texts of files of tracefs, by their paths in it. Raises KernelError."""
    context = syscall("open tracefs", _SYS_FSOPEN, b"tracefs", _FSOPEN_CLOEXEC, remedy=_REMEDY)
    try:
        create = _SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0
        syscall("set up tracefs", *create, remedy=_REMEDY)
        mount = syscall("mount tracefs", _SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0, remedy=_REMEDY)
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
    """The descriptor of a perf event for a tracepoint, by its id, on one CPU. Raises KernelError.

    The event itself is disabled; it is what a BPF program is attached to (`bpf.attach`), for all CPUs. Samples of its
    own would not do: a kernel was seen (6.18 in a Firecracker VM) that counts events in the idle task of the second
    CPU but writes no samples of them, and much of what is dropped late is dropped there, by timers.
    """
    call = _SYS_PERF_EVENT_OPEN.get(os.uname().machine)
    if call is None:
        raise KernelError(f"open a perf event on {os.uname().machine}")
    fields = _ATTRIBUTES.pack(_PERF_TYPE_TRACEPOINT, _ATTRIBUTES.size, number, 0, 0, 0, _DISABLED)
    attr = ctypes.create_string_buffer(fields, len(fields))
    return syscall("open a perf event", call, attr, -1, cpu, -1, _PERF_FLAG_FD_CLOEXEC, remedy=_REMEDY)
