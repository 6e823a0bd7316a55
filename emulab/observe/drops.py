"""The kernel's own reasons for dropping packets: the tracepoint skb:kfree_skb, read through perf events.

Only the host's root may watch it, and it tells of every packet of the machine, not of which: who reads it has to
go by the time. `open_drops` is for the process that may; `DropReader` reads in any that gets the descriptors.

A perf event's ring is a page of counters and a power of two of pages with records (perf_event_open(2), "MMAP
layout"); nothing is recorded before it is mapped. Reasons and the places of fields differ from kernel to kernel,
and are read from the tracepoint's own format.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import fcntl
import mmap
import os
import re
import struct
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from emulab.errors import KernelError
from emulab.kernel import perf
from emulab.observe.events import KernelDrop

_EVENT = "events/skb/kfree_skb"
_FILTER = b"protocol == 0x0800 || protocol == 0x0806"  # IPv4 and ARP
_PAGES = 64  # a record is some 70 bytes: 3,700 of them on each CPU
_KEPT = 200_000  # records, the latest ones, of a machine that drops all the time
_ONLINE = Path("/sys/devices/system/cpu/online")
_KALLSYMS = Path("/proc/kallsyms")

# linux/perf_event.h
_IOC_ENABLE, _IOC_DISABLE, _IOC_SET_FILTER = 0x2400, 0x2401, 0x40082406
_DATA_HEAD, _DATA_TAIL = 1024, 1032
_RECORD_LOST, _RECORD_SAMPLE = 2, 9
_RECORD = struct.Struct("=IHH")  # type, misc, size
_SAMPLE = struct.Struct("=QI")  # time, size of what the tracepoint wrote

_FIELD = re.compile(r"field:.*?(\w+);\s*offset:(\d+);\s*size:(\d+);")
_REASON = re.compile(r'\{ *(\d+), *"(\w+)" *\}')

Format = Mapping[str, Any]
"""Where a record has its reason and location, as [offset, size], and what the reasons are called; JSON-able."""


def open_drops() -> tuple[list[int], dict[str, Any]]:
    """Descriptors of the events, one a CPU, and the format of their records; none where we may not watch.

    Nothing is recorded until somebody reads.
    """
    opened: list[int] = []
    try:
        number, description = perf.read_tracefs([f"{_EVENT}/id", f"{_EVENT}/format"])
        layout = parse_format(description)
        for cpu in _cpus(_ONLINE.read_text()):
            opened.append(perf.open_tracepoint(int(number), cpu))
            fcntl.ioctl(opened[-1], _IOC_SET_FILTER, _FILTER + b"\0")
    except (KernelError, OSError, ValueError):
        for fd in opened:
            os.close(fd)
        return [], {}
    return opened, layout


def _cpus(text: str) -> list[int]:
    """`0-3,5` as numbers."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def parse_format(text: str) -> dict[str, Any]:
    """What `DropReader` needs of a tracepoint's format file. ValueError for one without reasons (Linux < 5.17)."""
    fields = {name: [int(offset), int(size)] for name, offset, size in _FIELD.findall(text)}
    reasons = dict(_REASON.findall(text))
    if "reason" not in fields or "location" not in fields or not reasons:
        raise ValueError("this kernel's skb:kfree_skb tells no reasons")
    return {"reason": fields["reason"], "location": fields["location"], "reasons": reasons}


class DropReader:
    """Watches from the moment it is made; the descriptors are its own from then on.

    Where the kernel refuses to map the rings (perf_event_mlock_kb), there is nothing to read.
    """

    def __init__(self, descriptors: Sequence[int], layout: Format) -> None:
        self._descriptors = list(descriptors)
        self._rings: list[mmap.mmap] = []
        self._layout = layout
        self._tails: list[int] = []
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self.lost = 0
        try:
            for fd in self._descriptors:
                self._rings.append(_map(fd))
                self._tails += struct.unpack_from("=Q", self._rings[-1], _DATA_TAIL)
                fcntl.ioctl(fd, _IOC_ENABLE, 0)
        except OSError:
            self.close()  # a reason less; what it is wanted for goes on

    def read(self, symbols: bool = False) -> list[KernelDrop]:
        """What was dropped since the last call, in order of time; with `symbols`, where in the kernel's code.

        The first time, looking up symbols takes a tenth of a second.
        """
        offset = _clock_offset()
        samples = [*self._kept, *(s for number in range(len(self._rings)) for s in self._samples(number))]
        self._kept.clear()
        found = sorted((moment + offset, *decode_record(raw, self._layout)) for moment, raw in samples)
        return [
            KernelDrop(moment, reason, symbol(location) if symbols else "")
            for moment, reason, location in found
        ]

    def make_room(self) -> None:
        """Takes records out of rings that are half full, for `read`: into a full one the kernel writes no more, and
        what a packet dies of comes last.
        """
        for number, ring in enumerate(self._rings):
            (head,) = struct.unpack_from("=Q", ring, _DATA_HEAD)
            if head - self._tails[number] > (len(ring) - mmap.PAGESIZE) // 2:
                self._kept += self._samples(number)

    def _samples(self, number: int) -> list[tuple[int, bytes]]:
        ring = self._rings[number]
        size = len(ring) - mmap.PAGESIZE
        (head,) = struct.unpack_from("=Q", ring, _DATA_HEAD)
        tail = self._tails[number]
        start, end = tail % size, head % size
        # The kernel doesn't write over what wasn't read, so there is at most one turn of the ring to join.
        data = ring[mmap.PAGESIZE :]
        unread = data[start:end] if start <= end and head - tail < size else data[start:] + data[:end]
        self._tails[number] = head
        struct.pack_into("=Q", ring, _DATA_TAIL, head)
        found, lost = split_records(unread)
        self.lost += lost
        return found

    def close(self) -> None:
        for ring in self._rings:
            ring.close()
        for fd in self._descriptors:
            with contextlib.suppress(OSError):  # somebody else may hold the event
                fcntl.ioctl(fd, _IOC_DISABLE, 0)
            os.close(fd)
        self._rings, self._descriptors = [], []


def _map(fd: int) -> mmap.mmap:
    """As large a ring as perf_event_mlock_kb and RLIMIT_MEMLOCK allow."""
    pages = _PAGES
    while True:
        try:
            return mmap.mmap(fd, mmap.PAGESIZE * (1 + pages))
        except OSError as error:
            if error.errno != errno.EPERM or pages == 1:
                raise
            pages //= 2


def split_records(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """The samples in a piece of a ring, as their time and the tracepoint's bytes, and how many were lost."""
    found: list[tuple[int, bytes]] = []
    lost = 0
    offset = 0
    while offset + _RECORD.size <= len(data):
        kind, _, size = _RECORD.unpack_from(data, offset)
        if size < _RECORD.size:
            break
        body = offset + _RECORD.size
        if kind == _RECORD_SAMPLE:
            moment, length = _SAMPLE.unpack_from(data, body)
            found.append((moment, data[body + _SAMPLE.size : body + _SAMPLE.size + length]))
        elif kind == _RECORD_LOST:
            lost += struct.unpack_from("=QQ", data, body)[1]
        offset += size
    return found, lost


def decode_record(raw: bytes, layout: Format) -> tuple[str, int]:
    """The reason's name, and the address in the kernel's code."""
    reason, location = (
        int.from_bytes(raw[offset : offset + size], sys.byteorder)
        for offset, size in (layout["reason"], layout["location"])
    )
    return layout["reasons"].get(str(reason), f"reason {reason}"), location


def _clock_offset() -> int:
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
