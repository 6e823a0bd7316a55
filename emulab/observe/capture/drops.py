"""The kernel's own reasons for dropping packets: the tracepoint skb:kfree_skb, written down by a BPF program.

Only the host's root may watch it, and it tells of every packet of the machine, not of which: who reads it has to
go by the time. `open_drops` is for the process that may; `DropReader` reads in any that gets the descriptors.

The program writes into a BPF ring buffer: a page with the reader's position, one with the writer's, and the data
(Linux 5.8, Documentation/bpf/ringbuf.rst). Reasons and the places of the tracepoint's fields differ from kernel to
kernel, and are read from its own format.
"""

from __future__ import annotations

import bisect
import mmap
import os
import re
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from emulab.errors import KernelError
from emulab.kernel import bpf, perf
from emulab.kernel.bpf import Code, Instruction
from emulab.model.families import IPV4, Family
from emulab.observe.events import KernelDrop

EVENT = "events/skb/kfree_skb"
_ETH_P_ARP = 0x0806
_SIZE = 256 << 10  # bytes of the ring: 8,192 records
_KEPT = 200_000  # records, the latest ones, of a machine that drops all the time
ONLINE = Path("/sys/devices/system/cpu/online")
_KALLSYMS = Path("/proc/kallsyms")

# linux/bpf.h
_BUSY, _DISCARDED = 1 << 31, 1 << 30
_HEADER = struct.Struct("=II")  # length and flags, offset of the page
_RECORD = struct.Struct("=QQQ")  # CLOCK_MONOTONIC, location, reason
_POSITION = struct.Struct("=Q")

_FIELD = re.compile(r"field:.*?(\w+);\s*offset:(\d+);\s*size:(\d+);")
_REASON = re.compile(r'\{ *(\d+), *"(\w+)" *\}')

TracepointFields = Mapping[str, tuple[int, int]]
"""Where the tracepoint has its fields: offset and size in bytes."""


def open_drops(families: Sequence[Family] = (IPV4,)) -> tuple[list[int], dict[str, str]]:
    """Descriptors of the ring and of the event, and what the reasons are called by their numbers.

    `families`: whose packets are told of. Nothing where we may not watch.
    """
    opened: list[int] = []
    try:
        number, description = perf.read_tracefs([f"{EVENT}/id", f"{EVENT}/format"])
        fields, reasons = parse_format(description)
        opened.append(bpf.create_ring_buffer(_SIZE))
        loaded = bpf.load_tracepoint_program(tracepoint_program(fields, opened[0], families))
        try:
            opened.append(perf.open_tracepoint(int(number), first_cpu(ONLINE.read_text())))
            bpf.attach(opened[1], loaded)
        finally:
            os.close(loaded)
    except (KernelError, OSError, ValueError):
        for fd in opened:
            os.close(fd)
        return [], {}
    return opened, reasons


def first_cpu(text: str) -> int:
    """The first CPU of a list such as `0-3,5`."""
    return int(re.split("[-,]", text.strip())[0])


def parse_format(text: str) -> tuple[TracepointFields, dict[str, str]]:
    """A tracepoint's fields and reasons, by its format file. ValueError for one without reasons (Linux < 5.17)."""
    fields = {name: (int(offset), int(size)) for name, offset, size in _FIELD.findall(text)}
    reasons = dict(_REASON.findall(text))
    if not {"protocol", "location", "reason"} <= fields.keys() or not reasons:
        raise ValueError("this kernel's skb:kfree_skb tells no reasons")
    return fields, reasons


def tracepoint_program(
    fields: TracepointFields, ring: int, families: Sequence[Family] = (IPV4,)
) -> list[Instruction]:
    """Writes time, location and reason of each drop to a ring, and lets others see the event too.

    Of packets of the families, and of ARP for IPv4.
    """
    protocols = [family.ethertype for family in families] + ([_ETH_P_ARP] if IPV4 in families else [])
    context, value = 6, 2

    def load(name: str) -> Instruction:
        offset, size = fields[name]
        return Instruction(bpf.LOADS[size], value, context, offset)

    def store(at: int) -> Instruction:
        return Instruction(Code.STORE_64, bpf.FRAME, value, at - _RECORD.size)

    write = [
        Instruction(Code.CALL, immediate=bpf.CALL_KTIME_GET_NS),
        Instruction(Code.MOVE, value, 0),
        store(0),
        load("location"),
        store(8),
        load("reason"),
        store(16),
        Instruction(Code.LOAD_64_IMMEDIATE, 1, bpf.MAP_DESCRIPTOR, immediate=ring),
        Instruction(Code.MOVE, 2, bpf.FRAME),
        Instruction(Code.ADD_IMMEDIATE, 2, immediate=-_RECORD.size),
        Instruction(Code.MOVE_IMMEDIATE, 3, immediate=_RECORD.size),
        Instruction(Code.MOVE_IMMEDIATE, 4, immediate=bpf.RINGBUF_NO_WAKEUP),
        Instruction(Code.CALL, immediate=bpf.CALL_RINGBUF_OUTPUT),
    ]
    leave = [Instruction(Code.MOVE_IMMEDIATE, 0, immediate=1), Instruction(Code.EXIT)]
    wanted = [
        Instruction(Code.JUMP_IF_EQUAL, value, offset=len(leave) + after, immediate=protocol)
        for after, protocol in enumerate(protocols)
    ]
    return [Instruction(Code.MOVE, context, 1), load("protocol"), *reversed(wanted), *leave, *write, *leave]


class RecordRing:
    """The records in a BPF ring buffer, from the moment it is made; the descriptors are its own from then on.

    Where the kernel refuses to map the ring, there is nothing to read.
    """

    def __init__(self, descriptors: Sequence[int], record: struct.Struct, size: int) -> None:
        """The first descriptor is the ring's, of `size` bytes."""
        self._descriptors = list(descriptors)
        self._record, self._size = record, size
        self._kept: deque[tuple[Any, ...]] = deque(maxlen=_KEPT)
        self._maps: list[mmap.mmap] = []
        try:
            self._maps.append(mmap.mmap(descriptors[0], mmap.PAGESIZE))
            # The data are mapped twice, one after the other, so that no record is in two pieces.
            whole = mmap.PAGESIZE + 2 * size
            self._maps.append(mmap.mmap(descriptors[0], whole, prot=mmap.PROT_READ, offset=mmap.PAGESIZE))
        except OSError:
            self.close()  # a reason less; what it is wanted for goes on
            return
        self._take()
        self._kept.clear()

    def taken(self) -> list[tuple[Any, ...]]:
        """What was written since the last call."""
        self._take()
        found = list(self._kept)
        self._kept.clear()
        return found

    def make_room(self) -> None:
        """Takes records out of a ring that is half full, for `taken`: into a full one the kernel writes no more, and
        what a packet dies of comes last.
        """
        if self._maps and self._unread()[1] > self._size // 2:
            self._take()

    def _unread(self) -> tuple[int, int]:
        """Where the records begin that nobody has read, and their bytes."""
        begin, end = (_POSITION.unpack_from(pages)[0] for pages in self._maps)
        return begin, end - begin

    def _take(self) -> None:
        """Keeps what is in the ring, and gives the kernel its room back."""
        if not self._maps:
            return
        reader, ring = self._maps
        begin, size = self._unread()
        start = mmap.PAGESIZE + begin % self._size
        found, taken = split_records(ring[start : start + size], self._record)
        self._kept += found
        _POSITION.pack_into(reader, 0, begin + taken)

    def close(self) -> None:
        for pages in self._maps:
            pages.close()
        for fd in self._descriptors:
            os.close(fd)
        self._maps, self._descriptors = [], []


class DropReader(RecordRing):
    """Tells what is dropped from the moment it is made; the descriptors are its own from then on."""

    def __init__(self, descriptors: Sequence[int], reasons: Mapping[str, str]) -> None:
        super().__init__(descriptors, _RECORD, _SIZE)
        self._reasons = reasons

    def read(self, symbols: bool = False) -> list[KernelDrop]:
        """What was dropped since the last call, in order of time; with `symbols`, where in the kernel's code.

        The first time, looking up symbols takes a tenth of a second.
        """
        offset = clock_offset()
        return [
            KernelDrop(
                moment + offset,
                self._reasons.get(str(reason), f"reason {reason}"),
                symbol(location) if symbols else "",
            )
            for moment, location, reason in sorted(self.taken())
        ]


def split_records(data: bytes, record: struct.Struct = _RECORD) -> tuple[list[tuple[Any, ...]], int]:
    """The fields of each record, up to the first that is being written, and the bytes of these."""
    found: list[tuple[Any, ...]] = []
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, _ = _HEADER.unpack_from(data, offset)
        if length & _BUSY:
            break
        if not length & _DISCARDED:
            found.append(record.unpack_from(data, offset + _HEADER.size))
        offset += _HEADER.size + (length & ~_DISCARDED) + -length % 8
    return found, offset


def clock_offset() -> int:
    """Nanoseconds from CLOCK_MONOTONIC to CLOCK_REALTIME, by the closest of a few pairs of readings."""
    pairs = []
    for _ in range(5):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        pairs.append((after - before, real - (before + after) // 2))
    return min(pairs)[1]


def symbol(address: int) -> str:
    """The kernel's function at an address; "" when the kernel doesn't show it."""
    addresses, names = _symbols()
    index = bisect.bisect_right(addresses, address) - 1
    return names[index] if index >= 0 else ""


@cache
def _symbols() -> tuple[list[int], list[str]]:
    """Code symbols in order of their addresses; nothing where /proc/kallsyms hides them (kptr_restrict)."""
    try:
        text = _KALLSYMS.read_text()
    except OSError:
        return [], []
    found = []
    for line in text.splitlines():
        address, kind, name = line.split()[:3]
        if kind in "tT" and (number := int(address, 16)):
            found.append((number, name))
    found.sort()
    return [number for number, _ in found], [name for _, name in found]
