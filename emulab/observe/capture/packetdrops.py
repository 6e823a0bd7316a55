"""Which packets the kernel drops, why, and in which network namespace: skb:kfree_skb with the packet's own headers.

As `drops`, for the host's root alone, and with a kernel that tells where its structures have their fields (BTF). The
BPF program follows the packet's pointers itself (bpf_probe_read_kernel), to its device, the device's namespace, and the
headers: a packet that has no device yet is its socket's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import bpf, btf, perf
from emulab.kernel.bpf import FRAME, Code, Instruction
from emulab.observe.capture.drops import (
    EVENT,
    ONLINE,
    RecordRing,
    TracepointFields,
    clock_offset,
    first_cpu,
    parse_format,
    symbol,
)

_SIZE = 1 << 20  # bytes of the ring: some 7,000 records
_HEADERS = 96  # bytes of a packet from its IP header on
_RECORD = struct.Struct(
    f"=QQQIIQ{_HEADERS}s"
)  # CLOCK_MONOTONIC, location, reason, namespace, interface, ethertype
_NAMESPACE_AT, _INTERFACE_AT, _PROTOCOL_AT, _HEADERS_AT = 24, 28, 32, 40
_START = -_RECORD.size  # of the record, below the end of the stack
_POINTER = _START - 8  # where a pointer is read to
_ETH_P_IP, _ETH_P_IPV6, _ETH_P_ARP = 0x0800, 0x86DD, 0x0806
_CONTEXT, _PACKET = 6, 7  # registers that calls leave alone
_FIELDS = (
    ("sk_buff", "dev"),
    ("sk_buff", "sk"),
    ("sk_buff", "head"),
    ("sk_buff", "network_header"),
    ("net_device", "nd_net"),
    ("net_device", "ifindex"),
    ("sock_common", "skc_net"),
    ("net", "ns"),
    ("ns_common", "inum"),
)
Offsets = Mapping[tuple[str, str], int]


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
        offsets = btf.field_offsets(_FIELDS)
        opened = [bpf.create_ring_buffer(_SIZE)]
        try:
            loaded = bpf.load_tracepoint_program(program(fields, offsets, opened[0]), bpf.GPL_COMPATIBLE)
            try:
                opened.append(perf.open_tracepoint(int(number), first_cpu(ONLINE.read_text())))
                bpf.attach(opened[1], loaded)
            finally:
                os.close(loaded)
        except BaseException:
            for fd in opened:
                os.close(fd)
            raise
        super().__init__(opened, _RECORD, _SIZE)

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


def program(fields: TracepointFields, offsets: Offsets, ring: int) -> list[Instruction]:
    """Writes a record of each packet of IP or ARP that is dropped to a ring."""

    def load(name: str) -> Instruction:
        offset, size = fields[name]
        return Instruction(bpf.LOADS[size], 2, _CONTEXT, offset)

    def store(at: int) -> Instruction:
        return Instruction(Code.STORE_64, FRAME, 2, _START + at)

    def read(to: int, size: int, *of: tuple[str, str]) -> list[Instruction]:
        """Reads from the structure that register 3 points to."""
        return [
            Instruction(Code.MOVE, 1, FRAME),
            Instruction(Code.ADD_IMMEDIATE, 1, immediate=to),
            Instruction(Code.MOVE_IMMEDIATE, 2, immediate=size),
            Instruction(Code.ADD_IMMEDIATE, 3, immediate=sum(offsets[field] for field in of)),
            Instruction(Code.CALL, immediate=bpf.CALL_PROBE_READ_KERNEL),
        ]

    packet, pointer = Instruction(Code.MOVE, 3, _PACKET), Instruction(Code.LOAD_64, 3, FRAME, _POINTER)
    leave = [Instruction(Code.MOVE_IMMEDIATE, 0, immediate=1), Instruction(Code.EXIT)]
    kinds = (_ETH_P_IP, _ETH_P_IPV6, _ETH_P_ARP)
    wanted = [
        Instruction(Code.JUMP_IF_EQUAL, 2, offset=len(leave) + after, immediate=kind)
        for after, kind in enumerate(kinds)
    ]
    first = [
        Instruction(Code.MOVE_IMMEDIATE, 2),
        *(store(at) for at in range(_NAMESPACE_AT, _RECORD.size, 8)),
        load("protocol"),
        store(_PROTOCOL_AT),
        Instruction(Code.CALL, immediate=bpf.CALL_KTIME_GET_NS),
        Instruction(Code.MOVE, 2, 0),
        store(0),
        load("location"),
        store(8),
        load("reason"),
        store(16),
        load("skbaddr"),
        Instruction(Code.MOVE, _PACKET, 2),
    ]
    namespace = read(_START + _NAMESPACE_AT, 4, ("net", "ns"), ("ns_common", "inum"))
    by_device = [
        pointer,
        *read(_START + _INTERFACE_AT, 4, ("net_device", "ifindex")),
        pointer,
        *read(_POINTER, 8, ("net_device", "nd_net")),
    ]
    by_socket = [
        packet,
        *read(_POINTER, 8, ("sk_buff", "sk")),
        pointer,
        *read(_POINTER, 8, ("sock_common", "skc_net")),
    ]
    whose = [
        packet,
        *read(_POINTER, 8, ("sk_buff", "dev")),
        pointer,
        Instruction(Code.JUMP_IF_EQUAL, 3, offset=len(by_device) + 1),  # no device
        *by_device,
        Instruction(Code.JUMP, offset=len(by_socket)),
        *by_socket,
        pointer,
        *namespace,
    ]
    headers = [
        Instruction(Code.MOVE_IMMEDIATE, 2),
        Instruction(Code.STORE_64, FRAME, 2, _POINTER),
        packet,
        *read(_POINTER, 2, ("sk_buff", "network_header")),
        Instruction(Code.LOAD_64, 8, FRAME, _POINTER),
        packet,
        *read(_POINTER, 8, ("sk_buff", "head")),
        pointer,
        Instruction(Code.ADD, 3, 8),
        *read(_START + _HEADERS_AT, _HEADERS),
    ]
    write = [
        Instruction(Code.LOAD_64_IMMEDIATE, 1, bpf.MAP_DESCRIPTOR, immediate=ring),
        Instruction(Code.MOVE, 2, FRAME),
        Instruction(Code.ADD_IMMEDIATE, 2, immediate=_START),
        Instruction(Code.MOVE_IMMEDIATE, 3, immediate=_RECORD.size),
        Instruction(Code.MOVE_IMMEDIATE, 4, immediate=bpf.RINGBUF_NO_WAKEUP),
        Instruction(Code.CALL, immediate=bpf.CALL_RINGBUF_OUTPUT),
    ]
    choose = [Instruction(Code.MOVE, _CONTEXT, 1), load("protocol"), *reversed(wanted), *leave]
    return [*choose, *first, *whose, *headers, *write, *leave]
