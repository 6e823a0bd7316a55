"""The BPF program that writes a record of each packet that is dropped (`packetdrops`).

It follows the packet's pointers itself (bpf_probe_read_kernel), to its device, the device's namespace, and the
headers: a packet that has no device yet is its socket's. Its parts follow each other, and share three registers that
calls leave alone: the tracepoint's record, the packet, and an offset.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from emulab.kernel import bpf
from emulab.kernel.bpf import FRAME, Code, Instruction
from emulab.observe.capture.drops import TracepointFields

_HEADERS = 96  # bytes of a packet from its IP header on
RECORD = struct.Struct(f"=QQQIIQ{_HEADERS}s")
"""CLOCK_MONOTONIC, location, reason, namespace, interface, ethertype, the packet from its IP header on."""
_NAMESPACE_AT, _INTERFACE_AT, _PROTOCOL_AT, _HEADERS_AT = 24, 28, 32, 40
_START = -RECORD.size  # of the record, below the end of the stack
_POINTER = _START - 8  # where a pointer is read to
_ETH_P_IP, _ETH_P_IPV6, _ETH_P_ARP = 0x0800, 0x86DD, 0x0806
_CONTEXT, _PACKET, _OFFSET = 6, 7, 8  # registers that calls leave alone
FIELDS = (
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

_GET_PACKET = Instruction(Code.MOVE, 3, _PACKET)
_GET_POINTER = Instruction(Code.LOAD_64, 3, FRAME, _POINTER)
_LEAVE = (Instruction(Code.MOVE_IMMEDIATE, 0, immediate=1), Instruction(Code.EXIT))


def packet_drop_program(fields: TracepointFields, offsets: Offsets, ring: int) -> list[Instruction]:
    """Writes a record of each packet of IP or ARP that is dropped to a ring."""
    return [
        *_leave_if_unwanted(fields),
        *_begin_record(fields),
        *_add_namespace(offsets),
        *_add_headers(offsets),
        *_write(ring),
        *_LEAVE,
    ]


def _load(fields: TracepointFields, name: str) -> Instruction:
    """Loads a field of the tracepoint's record into register 2."""
    offset, size = fields[name]
    return Instruction(bpf.LOADS[size], 2, _CONTEXT, offset)


def _store(at: int) -> Instruction:
    """Stores register 2 in the record."""
    return Instruction(Code.STORE_64, FRAME, 2, _START + at)


def _read(offsets: Offsets, to: int, size: int, *of: tuple[str, str]) -> list[Instruction]:
    """Reads from the structure that register 3 points to, to that place of the stack."""
    return [
        Instruction(Code.MOVE, 1, FRAME),
        Instruction(Code.ADD_IMMEDIATE, 1, immediate=to),
        Instruction(Code.MOVE_IMMEDIATE, 2, immediate=size),
        Instruction(Code.ADD_IMMEDIATE, 3, immediate=sum(offsets[field] for field in of)),
        Instruction(Code.CALL, immediate=bpf.CALL_PROBE_READ_KERNEL),
    ]


def _leave_if_unwanted(fields: TracepointFields) -> list[Instruction]:
    """Ends the program for packets that are neither IP nor ARP."""
    wanted = [
        Instruction(Code.JUMP_IF_EQUAL, 2, offset=len(_LEAVE) + after, immediate=kind)
        for after, kind in enumerate((_ETH_P_IP, _ETH_P_IPV6, _ETH_P_ARP))
    ]
    return [Instruction(Code.MOVE, _CONTEXT, 1), _load(fields, "protocol"), *reversed(wanted), *_LEAVE]


def _begin_record(fields: TracepointFields) -> list[Instruction]:
    """An empty record, with what the tracepoint says itself; and the packet in its register."""
    return [
        Instruction(Code.MOVE_IMMEDIATE, 2),
        *(_store(at) for at in range(_NAMESPACE_AT, RECORD.size, 8)),
        _load(fields, "protocol"),
        _store(_PROTOCOL_AT),
        Instruction(Code.CALL, immediate=bpf.CALL_KTIME_GET_NS),
        Instruction(Code.MOVE, 2, 0),
        _store(0),
        _load(fields, "location"),
        _store(8),
        _load(fields, "reason"),
        _store(16),
        _load(fields, "skbaddr"),
        Instruction(Code.MOVE, _PACKET, 2),
    ]


def _add_namespace(offsets: Offsets) -> list[Instruction]:
    """The namespace of the packet's device, with the device's number; of a packet without one that of its socket."""
    by_device = [
        _GET_POINTER,
        *_read(offsets, _START + _INTERFACE_AT, 4, ("net_device", "ifindex")),
        _GET_POINTER,
        *_read(offsets, _POINTER, 8, ("net_device", "nd_net")),
    ]
    by_socket = [
        _GET_PACKET,
        *_read(offsets, _POINTER, 8, ("sk_buff", "sk")),
        _GET_POINTER,
        *_read(offsets, _POINTER, 8, ("sock_common", "skc_net")),
    ]
    return [
        _GET_PACKET,
        *_read(offsets, _POINTER, 8, ("sk_buff", "dev")),
        _GET_POINTER,
        Instruction(Code.JUMP_IF_EQUAL, 3, offset=len(by_device) + 1),  # no device
        *by_device,
        Instruction(Code.JUMP, offset=len(by_socket)),
        *by_socket,
        _GET_POINTER,
        *_read(offsets, _START + _NAMESPACE_AT, 4, ("net", "ns"), ("ns_common", "inum")),
    ]


def _add_headers(offsets: Offsets) -> list[Instruction]:
    """The packet itself, from its IP header on."""
    return [
        Instruction(Code.MOVE_IMMEDIATE, 2),
        Instruction(Code.STORE_64, FRAME, 2, _POINTER),
        _GET_PACKET,
        *_read(offsets, _POINTER, 2, ("sk_buff", "network_header")),
        Instruction(Code.LOAD_64, _OFFSET, FRAME, _POINTER),
        _GET_PACKET,
        *_read(offsets, _POINTER, 8, ("sk_buff", "head")),
        _GET_POINTER,
        Instruction(Code.ADD, 3, _OFFSET),
        *_read(offsets, _START + _HEADERS_AT, _HEADERS),
    ]


def _write(ring: int) -> list[Instruction]:
    """The record into the ring."""
    return [
        Instruction(Code.LOAD_64_IMMEDIATE, 1, bpf.MAP_DESCRIPTOR, immediate=ring),
        Instruction(Code.MOVE, 2, FRAME),
        Instruction(Code.ADD_IMMEDIATE, 2, immediate=_START),
        Instruction(Code.MOVE_IMMEDIATE, 3, immediate=RECORD.size),
        Instruction(Code.MOVE_IMMEDIATE, 4, immediate=bpf.RINGBUF_NO_WAKEUP),
        Instruction(Code.CALL, immediate=bpf.CALL_RINGBUF_OUTPUT),
    ]
