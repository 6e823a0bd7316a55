"""Filter programs run by a small interpreter of classic BPF on frames made by hand."""

from __future__ import annotations

import socket
import struct

import pytest

from emulab.model.families import IPV4, IPV6
from emulab.observe.capture import filters

SNAP = 128
TCP, UDP, ICMP, SCTP, ICMP6, FRAGMENT, IPIP, IPV6_IN = 6, 17, 1, 132, 58, 44, 4, 41


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
OF_IPV6 = b"\2" * 12 + b"\x86\xdd" + b"\x60" + bytes(39) + ports(40000, 80)


@pytest.mark.parametrize(
    ("frame", "all_ports", "some_ports"),
    [
        (ARP, True, True),
        (OF_IPV6, False, False),
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
        (ipv4(IPIP, ipv4(TCP, ports(40000, 81))[14:]), True, True),
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
            "IP in IP",
            "short",
        ),
    ],
)
def test_what_is_kept(frame: bytes, all_ports: bool, some_ports: bool) -> None:
    assert run(filters.filter_program(None, SNAP), frame) == SNAP * all_ports
    assert run(filters.filter_program([80, 443, 8080], SNAP), frame) == SNAP * some_ports


@pytest.mark.parametrize(("protocol", "kept"), [(TCP, True), (UDP, True), (ICMP, True), (SCTP, False)])
def test_what_has_no_header_of_its_link_is_kept_where_all_ports_are(protocol: int, kept: bool) -> None:
    frame = ipv4(protocol, ports(40000, 81))[14:]
    assert run(filters.filter_program(None, SNAP), frame) == SNAP * kept
    assert run(filters.filter_program([81], SNAP), frame) == 0
    assert run(filters.filter_program(None, SNAP, (IPV6,)), frame) == 0


def ipv6(protocol: int, payload: bytes) -> bytes:
    return (
        b"\2" * 12
        + b"\x86\xdd\x60"
        + bytes(3)
        + struct.pack("!HBB", len(payload), protocol, 64)
        + bytes(32)
        + payload
    )


@pytest.mark.parametrize(
    ("frame", "all_ports", "some_ports"),
    [
        (ipv6(ICMP6, bytes(8)), True, True),
        (ipv6(TCP, ports(40000, 80)), True, True),
        (ipv6(UDP, ports(53, 40000)), True, True),
        (ipv6(TCP, ports(40000, 8081)), True, False),
        (ipv6(SCTP, ports(40000, 80)), False, False),
        (ipv6(FRAGMENT, ports(40000, 80)), False, False),
        (ipv6(ICMP, bytes(8)), False, False),
        (ipv6(TCP, b"\x9c\x40"), True, False),
        (ipv6(IPV6_IN, ipv6(TCP, ports(40000, 81))[14:]), True, True),
    ],
    ids=["icmp", "to", "question", "other", "sctp", "fragment", "icmp of ipv4", "cut off", "ipv6 in ipv6"],
)
def test_what_is_kept_of_ipv6(frame: bytes, all_ports: bool, some_ports: bool) -> None:
    for families in ((IPV6,), (IPV4, IPV6), (IPV6, IPV4)):
        assert run(filters.filter_program(None, SNAP, families), frame) == SNAP * all_ports
        assert run(filters.filter_program([80, 443, 8080], SNAP, families), frame) == SNAP * some_ports
    assert run(filters.filter_program(None, SNAP), frame) == 0


@pytest.mark.parametrize("ports_given", [None, [80], list(range(1000, 1600))])
def test_a_family_is_kept_beside_another_as_it_is_alone(ports_given: list[int] | None) -> None:
    frames = [
        ARP,
        *(make(p, ports(40000, n)) for make in (ipv4, ipv6) for p in (TCP, UDP, 0) for n in (80, 1599, 7)),
    ]
    alone = [filters.filter_program(ports_given, SNAP, (f,)) for f in (IPV4, IPV6)]
    for families in ((IPV4, IPV6), (IPV6, IPV4)):
        both = filters.filter_program(ports_given, SNAP, families)
        for frame in frames:
            assert run(both, frame) == max(run(one, frame) for one in alone)
    assert run(alone[1], ARP) == 0, "neighbours are asked for in ICMP there"


@pytest.mark.parametrize("count", [1, 199, 200, 201, 1800])
def test_many_ports(count: int) -> None:
    wanted = range(10000, 10000 + 2 * count, 2)
    program = filters.filter_program(wanted, SNAP)
    for port in (*wanted[:3], *wanted[-3:]):
        assert run(program, ipv4(TCP, ports(port, 1))) == SNAP
        assert run(program, ipv4(UDP, ports(1, port))) == SNAP
        assert run(program, ipv4(TCP, ports(port + 1, port - 1))) == 0


def test_too_many_ports() -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        filters.filter_program(range(1, 2500), SNAP)


def test_nothing() -> None:
    assert run(filters.nothing(), ARP) == 0
