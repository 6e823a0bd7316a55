"""Which packets the kernel drops, why, and in which network namespace: skb:kfree_skb with the packet's own headers.

As `drops`, for the host's root alone, and with a kernel that tells where its structures have their fields (BTF):
`dropprogram` is what runs in the kernel.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import bpf, btf, perf
from emulab.observe.capture.dropprogram import FIELDS, RECORD, packet_drop_program
from emulab.observe.capture.drops import (
    EVENT,
    ONLINE,
    RecordRing,
    clock_offset,
    first_cpu,
    parse_format,
    symbol,
)

_SIZE = 1 << 20  # bytes of the ring: some 7,000 records


class PacketDrop(NamedTuple):
    """A packet that was dropped. `namespace` is the number of a network namespace (its inode), 0 for none known."""

    time: int
    reason: str
    location: str
    namespace: int
    interface: int
    ethertype: int
    headers: bytes


class PacketDrops(RecordRing):
    """Tells what is dropped on the machine, from the moment it is made."""

    def __init__(self) -> None:
        """Raises KernelError where we may not watch, or the kernel doesn't tell enough."""
        number, description = perf.read_tracefs([f"{EVENT}/id", f"{EVENT}/format"])
        try:
            fields, self._reasons = parse_format(description)
        except ValueError as error:
            raise KernelError(f"watch drops ({error})") from None
        offsets = btf.field_offsets(FIELDS)
        opened = [bpf.create_ring_buffer(_SIZE)]
        try:
            loaded = bpf.load_tracepoint_program(
                packet_drop_program(fields, offsets, opened[0]), bpf.GPL_COMPATIBLE
            )
            try:
                opened.append(perf.open_tracepoint(int(number), first_cpu(ONLINE.read_text())))
                bpf.attach(opened[1], loaded)
            finally:
                os.close(loaded)
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        super().__init__(opened, RECORD, _SIZE)

    def read(self) -> list[PacketDrop]:
        """What was dropped since the last call."""
        offset = clock_offset()
        return [
            PacketDrop(
                moment + offset,
                self._reasons.get(str(reason), f"reason {reason}"),
                symbol(location),
                *(namespace, interface, ethertype, headers),
            )
            for moment, location, reason, namespace, interface, ethertype, headers in self.taken()
        ]
