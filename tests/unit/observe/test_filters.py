"""Filter programs run by a small interpreter of classic BPF on frames made by hand."""

from __future__ import annotations

import socket
import struct

import pytest

from emulab.observe.capture import filters

SNAP = 128
TCP, UDP, ICMP, SCTP = 6, 17, 1, 132


def run(program: bytes, frame: bytes) -> int:
    """What a classic BPF program returns; a load beyond the frame's end returns 0."""
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = index = position = 0
    try:
        while True:
            operation, if_true, if_false, operand = code[position]
            position += 1
            match operation:
                case 0x28:
                    (accumulator,) = struct.unpack_from("!H", frame, operand)
                case 0x30:
                    accumulator = frame[operand]
                case 0x48:
                    (accumulator,) = struct.unpack_from("!H", frame, index + operand)
                case 0xB1:
                    index = 4 * (frame[operand] & 15)
                case 0x05:
                    position += operand
                case 0x15:
                    position += if_true if accumulator == operand else if_false
                case 0x45:
                    position += if_true if accumulator & operand else if_false
                case 0x06:
                    return int(operand)
                case _:
                    raise AssertionError(f"no such instruction: {operation:#x}")
    except (struct.error, IndexError):
        return 0


def ipv4(protocol: int, payload: bytes, fragment: int = 0, options: bytes = b"") -> bytes:
    addresses = socket.inet_aton("10.0.0.1") + socket.inet_aton("10.0.0.2")
    length = 20 + len(options)
    header = struct.pack(
        "!BBHHHBBH", 0x40 | length // 4, 0, length + len(payload), 1, fragment, 64, protocol, 0
    )
    return b"\2" * 12 + b"\x08\x00" + header + addresses + options + payload


def ports(source: int, destination: int) -> bytes:
    return struct.pack("!HH", source, destination) + bytes(16)


ARP = b"\2" * 12 + b"\x08\x06" + bytes(28)
IPV6 = b"\2" * 12 + b"\x86\xdd" + b"\x60" + bytes(39) + ports(40000, 80)


@pytest.mark.parametrize(
    ("frame", "all_ports", "some_ports"),
    [
        (ARP, True, True),
        (IPV6, False, False),
        (ipv4(ICMP, bytes(8)), True, True),
        (ipv4(SCTP, ports(40000, 80)), False, False),
        (ipv4(TCP, ports(40000, 80)), True, True),
        (ipv4(TCP, ports(80, 40000)), True, True),
        (ipv4(TCP, ports(40000, 8081)), True, False),
        (ipv4(TCP, ports(40000, 80), options=bytes(8)), True, True),
        (ipv4(TCP, ports(40000, 81), options=ports(80, 80)[:8]), True, False),
        (ipv4(UDP, ports(40000, 53)), True, True),
        (ipv4(UDP, ports(53, 40000)), True, True),
        (ipv4(UDP, ports(40000, 8472)), True, False),
        (ipv4(TCP, ports(40000, 80), fragment=0x4000), True, True),
        (ipv4(UDP, ports(40000, 80), fragment=0x2000), True, True),
        (ipv4(UDP, ports(40000, 80), fragment=0x2001), True, False),
        (ipv4(TCP, b"\x9c\x40"), True, False),
        (b"\2" * 12, False, False),
    ],
    ids=[
        *("arp", "ipv6", "icmp", "sctp", "to", "from", "other", "options", "options that look like ports"),
        *(
            "question",
            "answer",
            "vxlan",
            "don't fragment",
            "first fragment",
            "later fragment",
            "cut off",
            "short",
        ),
    ],
)
def test_what_is_kept(frame: bytes, all_ports: bool, some_ports: bool) -> None:
    assert run(filters.program(None, SNAP), frame) == SNAP * all_ports
    assert run(filters.program([80, 443, 8080], SNAP), frame) == SNAP * some_ports


@pytest.mark.parametrize("count", [1, 199, 200, 201, 1800])
def test_many_ports(count: int) -> None:
    wanted = range(10000, 10000 + 2 * count, 2)
    program = filters.program(wanted, SNAP)
    for port in (*wanted[:3], *wanted[-3:]):
        assert run(program, ipv4(TCP, ports(port, 1))) == SNAP
        assert run(program, ipv4(UDP, ports(1, port))) == SNAP
        assert run(program, ipv4(TCP, ports(port + 1, port - 1))) == 0


def test_too_many_ports() -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        filters.program(range(1, 2500), SNAP)


def test_nothing() -> None:
    assert run(filters.nothing(), ARP) == 0
