"""BPF programs and maps, through bpf(2) alone.

Maps, programs and perf events are descriptors: nothing is pinned, and all is gone with their last holder.
`Instruction` and the constants are what programs here need of the instruction set (RFC 9669).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel.libc import syscall

# linux/bpf.h
_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT, _PROG_LOAD = 0, 1, 2, 3, 4, 5
_MAP_LOOKUP_BATCH, _MAP_UPDATE_BATCH = 24, 26
_MAP_TYPE_RINGBUF = 27
MAP_HASH, MAP_LRU_HASH, MAP_LPM_TRIE = 1, 9, 11
NO_PREALLOC = 1
"""A map's elements take memory once they are there (BPF_F_NO_PREALLOC)."""
PROGRAM_AT_TC, _PROGRAM_AT_TRACEPOINT = 3, 5
_IOC_SET_BPF = 0x40042408  # linux/perf_event.h

_AT_ONCE = 4096
"""Elements that are read at once: more than any bucket of a hash has."""
_FEW = 16
"""Elements that are written one by one."""

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
    SUBTRACT_IMMEDIATE = 0x17
    SUBTRACT = 0x1F
    OR_IMMEDIATE = 0x47
    AND_IMMEDIATE = 0x57
    SHIFT_LEFT_IMMEDIATE = 0x67
    MULTIPLY_IMMEDIATE = 0x27
    MODULO = 0x9F
    OR = 0x4F
    SHIFT_RIGHT_IMMEDIATE = 0x77
    STORE_8 = 0x73
    STORE_16 = 0x6B
    STORE_32 = 0x63
    STORE_IMMEDIATE_8 = 0x72
    STORE_IMMEDIATE_16 = 0x6A
    STORE_IMMEDIATE_32 = 0x62
    STORE_IMMEDIATE_64 = 0x7A
    JUMP = 0x05
    JUMP_IF_EQUAL = 0x15
    JUMP_IF_NOT_EQUAL = 0x55
    JUMP_IF_LESS = 0xA5
    JUMP_IF_EQUAL_TO = 0x1D
    JUMP_IF_NOT_EQUAL_TO = 0x5D
    JUMP_IF_LESS_THAN = 0xAD
    JUMP_IF_ANY_BIT = 0x45
    CALL = 0x85
    EXIT = 0x95


STORES = {1: Code.STORE_8, 2: Code.STORE_16, 4: Code.STORE_32, 8: Code.STORE_64}
STORE_IMMEDIATES = {
    1: Code.STORE_IMMEDIATE_8,
    2: Code.STORE_IMMEDIATE_16,
    4: Code.STORE_IMMEDIATE_32,
    8: Code.STORE_IMMEDIATE_64,
}
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
    return _call(what, command, ctypes.create_string_buffer(attributes, len(attributes)))


def _call(what: str, command: int, text: ctypes.Array[ctypes.c_char]) -> int:
    """`text`: the attributes, into which the kernel may write."""
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        raise KernelError(f"{what} on {os.uname().machine}")
    return syscall(what, number, command, text, len(text))


def create_ring_buffer(size: int) -> int:
    """The descriptor of a ring buffer of `size` bytes, a power of two of pages. Raises KernelError."""
    return create_map(_MAP_TYPE_RINGBUF, 0, 0, size)


def create_map(kind: int, key: int, value: int, room: int, flags: int = 0, name: str = "") -> int:
    """The descriptor of a map with keys and values of so many bytes. Raises KernelError."""
    # map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name, rest
    attributes = struct.pack("=IIIIIII16s28x", kind, key, value, room, flags, 0, 0, name.encode())
    return _bpf(f"create a BPF map{f' {name}' if name else ''}", _MAP_CREATE, attributes)


def update_element(fd: int, key: bytes, value: bytes) -> None:
    """Gives a key of a map a value. Raises KernelError."""
    _element("write to a BPF map", _MAP_UPDATE, fd, key, ctypes.create_string_buffer(value, len(value)))


def update_elements(fd: int, wanted: Mapping[bytes, bytes]) -> None:
    """Gives keys of a map values, many in one call. Raises KernelError; then some of them may have theirs."""
    if len(wanted) <= _FEW:
        for key, value in wanted.items():
            update_element(fd, key, value)
        return
    all_keys, all_values = b"".join(wanted), b"".join(wanted.values())
    keys, values = (ctypes.create_string_buffer(data, len(data)) for data in (all_keys, all_values))
    # in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags
    where = 0, 0, ctypes.addressof(keys), ctypes.addressof(values)
    _bpf("write to a BPF map", _MAP_UPDATE_BATCH, struct.pack("=QQQQIIQQ", *where, len(wanted), fd, 0, 0))


def delete_element(fd: int, key: bytes) -> None:
    """Removes a key from a map. Raises KernelError; of a key that isn't there with ENOENT."""
    _element("remove from a BPF map", _MAP_DELETE, fd, key)


def element(fd: int, key: bytes, size: int) -> bytes | None:
    """The value, of so many bytes, that a key of a map has; None where the key isn't there. Raises KernelError."""
    value = ctypes.create_string_buffer(size)
    return value.raw if _is_there("read a BPF map", _MAP_LOOKUP, fd, key, value) else None


def elements(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys of a map with their values, as they are while others may change them. Raises KernelError."""
    key: bytes | None = None
    found = ctypes.create_string_buffer(key_size)
    while _is_there("list a BPF map", _MAP_NEXT, fd, key, found):
        key = found.raw
        if (value := element(fd, key, value_size)) is not None:
            yield key, value


def all_elements(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys of a hash with their values, many in one call. Raises KernelError."""
    keys, values = (ctypes.create_string_buffer(size * _AT_ONCE) for size in (key_size, value_size))
    place = ctypes.create_string_buffer(4)  # how far it has come, as the kernel counts
    begun = False
    while True:
        where = (ctypes.addressof(place) if begun else 0, ctypes.addressof(place))
        buffers = ctypes.addressof(keys), ctypes.addressof(values)
        attributes = struct.pack("=QQQQIIQQ", *where, *buffers, _AT_ONCE, fd, 0, 0)
        text = ctypes.create_string_buffer(attributes, len(attributes))
        over = False
        try:
            _call("read a BPF map", _MAP_LOOKUP_BATCH, text)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            over = True  # what is there comes with it
        count = struct.unpack_from("=I", text.raw, 32)[0]
        own_keys = ctypes.string_at(keys, count * key_size)
        own_values = ctypes.string_at(values, count * value_size)
        for n in range(count):
            key, value = n * key_size, n * value_size
            yield own_keys[key : key + key_size], own_values[value : value + value_size]
        if over:
            return
        begun = True


def _is_there(
    what: str, command: int, fd: int, key: bytes | None, value: ctypes.Array[ctypes.c_char]
) -> bool:
    try:
        _element(what, command, fd, key, value)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def _element(
    what: str, command: int, fd: int, key: bytes | None, value: ctypes.Array[ctypes.c_char] | None = None
) -> None:
    given = ctypes.create_string_buffer(key, len(key)) if key is not None else None
    addresses = (ctypes.addressof(buffer) if buffer is not None else 0 for buffer in (given, value))
    _bpf(what, command, struct.pack("=IxxxxQQQ", fd, *addresses, 0))


def load_tracepoint_program(instructions: Sequence[Instruction], license: bytes = ANY_LICENSE) -> int:
    """The descriptor of a program for tracepoints. Raises KernelError, with what the verifier says."""
    return load_program(_PROGRAM_AT_TRACEPOINT, instructions, license)


def load_program(
    kind: int, instructions: Sequence[Instruction], license: bytes = ANY_LICENSE, name: str = ""
) -> int:
    """The descriptor of a program. Raises KernelError, with what the verifier says."""
    code = b"".join(i.encode() for i in instructions)
    try:
        return _load(kind, code, license, name)
    except KernelError as error:
        if error.errno == errno.EPERM:
            raise
    # Again, and this time the verifier writes down why: that is slow, and seldom asked for.
    log = ctypes.create_string_buffer(_LOG)
    try:
        return _load(kind, code, license, name, log)
    except KernelError as error:
        said = log.value.decode(errors="replace").strip().splitlines()
        if said:
            raise KernelError(f"load a BPF program ({said[-1]})", errno=error.errno) from None
        raise


def _load(
    kind: int, code: bytes, license: bytes, name: str, log: ctypes.Array[ctypes.c_char] | None = None
) -> int:
    program = ctypes.create_string_buffer(code, len(code))
    license_ = ctypes.create_string_buffer(license)
    where = (1, _LOG, ctypes.addressof(log)) if log is not None else (0, 0, 0)
    # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, prog_name, rest
    attributes = struct.pack(
        "=IIQQIIQII16s48x",
        *(kind, len(code) // 8, ctypes.addressof(program), ctypes.addressof(license_)),
        *(*where, 0, 0, name.encode()),
    )
    return _bpf("load a BPF program", _PROG_LOAD, attributes)


def attach(event: int, program: int) -> None:
    """Runs a program at a perf event's tracepoint, on every CPU, until the event's last descriptor is closed.

    Raises KernelError.
    """
    try:
        fcntl.ioctl(event, _IOC_SET_BPF, program)
    except OSError as error:
        raise KernelError("attach a BPF program", errno=error.errno or 0) from None
