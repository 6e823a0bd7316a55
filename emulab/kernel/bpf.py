"""A BPF program at a tracepoint, and the ring buffer that it writes to, through bpf(2) alone.

Map, program and perf event are descriptors: nothing is pinned, and all is gone with their last holder. Programs
here are a few instructions long; `Instruction` and the constants are what they need of the instruction set (RFC 9669).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel.libc import syscall

# linux/bpf.h
_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_MAP_CREATE, _PROG_LOAD = 0, 5
_MAP_TYPE_RINGBUF = 27
_PROG_TYPE_TRACEPOINT = 5
_IOC_SET_BPF = 0x40042408  # linux/perf_event.h

ANY_LICENSE, GPL_COMPATIBLE = b"none\0", b"Dual MIT/GPL\0"
"""What helpers ask for: those that read the kernel's memory are for programs of the latter alone."""
_LOG = 16 << 10


class Code(IntEnum):
    """Instructions: class, source and operation in one (RFC 9669 section 3)."""

    LOAD_64_IMMEDIATE = 0x18
    LOAD_8 = 0x71
    LOAD_16 = 0x69
    LOAD_32 = 0x61
    LOAD_64 = 0x79
    STORE_64 = 0x7B
    MOVE = 0xBF
    MOVE_IMMEDIATE = 0xB7
    ADD_IMMEDIATE = 0x07
    ADD = 0x0F
    JUMP = 0x05
    JUMP_IF_EQUAL = 0x15
    CALL = 0x85
    EXIT = 0x95


LOADS = {1: Code.LOAD_8, 2: Code.LOAD_16, 4: Code.LOAD_32, 8: Code.LOAD_64}
"""Loads of so many bytes."""

CALL_KTIME_GET_NS, CALL_PROBE_READ_KERNEL, CALL_RINGBUF_OUTPUT = 5, 113, 130
RINGBUF_NO_WAKEUP = 1
MAP_DESCRIPTOR = 1
"""As the source register of LOAD_64_IMMEDIATE: the immediate is a map's descriptor."""
FRAME = 10
"""The register with the end of the stack."""


class Instruction(NamedTuple):
    code: Code
    destination: int = 0
    source: int = 0
    offset: int = 0
    immediate: int = 0

    def encode(self) -> bytes:
        registers = self.destination, self.source
        low, high = registers if sys.byteorder == "little" else registers[::-1]
        encoded = struct.pack("=BBhi", self.code, high << 4 | low, self.offset, self.immediate)
        return encoded + bytes(8) if self.code == Code.LOAD_64_IMMEDIATE else encoded


def _bpf(what: str, command: int, attributes: bytes) -> int:
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        raise KernelError(f"{what} on {os.uname().machine}")
    text = ctypes.create_string_buffer(attributes, len(attributes))
    return syscall(what, number, command, text, len(attributes))


def create_ring_buffer(size: int) -> int:
    """The descriptor of a ring buffer of `size` bytes, a power of two of pages. Raises KernelError."""
    return _bpf(
        "create a BPF ring buffer", _MAP_CREATE, struct.pack("=IIII56x", _MAP_TYPE_RINGBUF, 0, 0, size)
    )


def load_tracepoint_program(instructions: Sequence[Instruction], license: bytes = ANY_LICENSE) -> int:
    """The descriptor of a program. Raises KernelError, with what the verifier says."""
    code = b"".join(i.encode() for i in instructions)
    program = ctypes.create_string_buffer(code, len(code))
    license_ = ctypes.create_string_buffer(license)
    log = ctypes.create_string_buffer(_LOG)
    # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, rest
    attributes = struct.pack(
        "=IIQQIIQII64x",
        *(_PROG_TYPE_TRACEPOINT, len(code) // 8, ctypes.addressof(program), ctypes.addressof(license_)),
        *(1, _LOG, ctypes.addressof(log), 0, 0),
    )
    try:
        return _bpf("load a BPF program", _PROG_LOAD, attributes)
    except KernelError as error:
        said = log.value.decode(errors="replace").strip().splitlines()
        if said:
            raise KernelError(f"load a BPF program ({said[-1]})", errno=error.errno) from None
        raise


def attach(event: int, program: int) -> None:
    """Runs a program at a perf event's tracepoint, on every CPU, until the event's last descriptor is closed.

    Raises KernelError.
    """
    try:
        fcntl.ioctl(event, _IOC_SET_BPF, program)
    except OSError as error:
        raise KernelError("attach a BPF program", errno=error.errno or 0) from None
