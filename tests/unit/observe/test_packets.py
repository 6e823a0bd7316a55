"""Frames decoded: made by hand, cut short, and of random bytes."""

from __future__ import annotations

import socket
import struct

import pytest
from handmade import ACK, PSH, START, SYN, arp, ethernet, icmp, ipv4, ipv6, ndp, tcp, udp, vxlan
from hypothesis import given
from hypothesis import strategies as st

from emulab.observe.events import Flow, Frame
from emulab.observe.join.packets import (
    Discovery,
    Packet,
    decode,
    flow_key,
    glance,
    is_discovery,
    key_flow,
    mark,
)
from emulab.observe.join.sightings import Sightings
from emulab.observe.path import Encapsulation

A, B = "10.0.0.1", "10.0.0.2"
A6, B6, C6 = "fd00::1", "fd00::2", "2001:db8::9"
SIX = 0x86DD


def seen(data: bytes, length: int = 0) -> Packet | Discovery | None:
    return decode(3, Frame(START, "node1", "eth0", True, length or len(data), data))


def packet(data: bytes, length: int = 0) -> Packet:
    found = seen(data, length)
    assert isinstance(found, Packet)
    return found


def test_tcp() -> None:
    body = tcp(40000, 80, 1000, PSH | ACK, b"GET / HTTP/1.1\r\n", ack=77)
    found = packet(ethernet(ipv4(A, B, 6, body, ttl=61)))
    assert found.flow == Flow("tcp", A, 40000, B, 80)
    assert (found.frame, found.place, found.interface, found.outgoing) == (3, "node1", "eth0", True)
    assert (found.sequence, found.acknowledged, found.flags) == (1000, 77, PSH | ACK)
    assert (found.size, found.payload, found.ttl, found.fragmentable) == (
        16,
        b"GET / HTTP/1.1\r\n",
        61,
        False,
    )
    assert found.encapsulation is None and found.significant


def test_tcp_options_are_no_payload() -> None:
    header = struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 8 << 4, SYN, 64240, 0, 0) + bytes(12)
    found = packet(ethernet(ipv4(A, B, 6, header + b"xy")))
    assert (found.size, found.payload) == (2, b"xy")


def test_ethernet_padding_is_no_payload() -> None:
    found = packet(ethernet(ipv4(A, B, 6, tcp(1, 2, 3, ACK))) + bytes(6))
    assert (found.size, found.payload, found.significant) == (0, b"", False)


def test_a_payload_that_was_cut_has_its_size_on_the_wire() -> None:
    whole = ethernet(ipv4(A, B, 6, tcp(1, 2, 3, ACK, b"x" * 1000)))
    found = packet(whole[:100])
    assert (found.size, len(found.payload)) == (1000, 100 - 54)
    assert found.identity == packet(whole).identity


def test_larger_than_an_ip_length_can_tell() -> None:
    data = ethernet(ipv4(A, B, 6, tcp(1, 2, 3, ACK, b"x" * 50), length=0))
    assert packet(data, length=14 + 40 + 70_000).size == 70_000


def test_ip_options() -> None:
    found = packet(ethernet(ipv4(A, B, 17, udp(5, 6, b"odd"), options=bytes(8))))
    assert (found.flow, found.payload) == (Flow("udp", A, 5, B, 6), b"odd")


def test_udp() -> None:
    found = packet(ethernet(ipv4(A, B, 17, udp(5000, 6000, b"hello"), fragment=0)))
    assert found.flow == Flow("udp", A, 5000, B, 6000)
    assert (found.size, found.payload, found.fragmentable, found.significant) == (5, b"hello", True, True)


@pytest.mark.parametrize("length", [0, 3])
def test_udp_with_a_length_that_cannot_be(length: int) -> None:
    body = struct.pack("!HHHH", 1, 2, length, 0) + b"hello"
    assert packet(ethernet(ipv4(A, B, 17, body))).size == (5 if length == 0 else 0)


def test_icmp_error_with_what_it_is_about() -> None:
    original = ipv4(A, B, 17, udp(5000, 6000, b"x"))
    found = packet(ethernet(ipv4("10.0.0.9", A, 1, icmp(3, 4, original[:28], rest=1450))))
    assert found.flow == Flow("icmp", "10.0.0.9", 0, A, 0)
    assert (found.icmp, found.next_mtu, found.about) == ((3, 4), 1450, Flow("udp", A, 5000, B, 6000))


def test_icmp_echo_is_about_nothing() -> None:
    found = packet(ethernet(ipv4(A, B, 1, icmp(8, 0, b"ping" * 10))))
    assert (found.icmp, found.about, found.next_mtu) == ((8, 0), None, 0)


def test_vxlan() -> None:
    inner = ethernet(ipv4("10.244.1.2", "10.244.2.3", 6, tcp(1, 8080, 9, SYN)))
    found, bare = packet(vxlan(inner, A, B, vni=5)), packet(inner)
    assert found.encapsulation == Encapsulation("vxlan", 5, A, B)
    assert (found.flow, found.identity) == (bare.flow, bare.identity)


def test_tcp_and_udp_of_ipv6() -> None:
    found = packet(
        ethernet(ipv6(A6, B6, 6, tcp(40000, 80, 1000, PSH | ACK, b"GET /"), ttl=61), SIX) + bytes(6)
    )
    assert found.flow == Flow("tcp", A6, 40000, B6, 80)
    assert (found.sequence, found.size, found.payload, found.ttl) == (1000, 5, b"GET /", 61)
    assert (found.length, found.fragmentable) == (40 + 25, False)
    found = packet(ethernet(ipv6(A6, B6, 17, udp(5000, 6000, b"hello")), SIX))
    assert (found.flow, found.size, found.payload) == (Flow("udp", A6, 5000, B6, 6000), 5, b"hello")


def test_translated_and_encapsulated_it_is_the_same_packet_in_ipv6_too() -> None:
    body = tcp(40000, 80, 1000, ACK, b"data")
    bare = packet(ethernet(ipv6(A6, B6, 6, body), SIX))
    translated = ipv6(C6, B6, 6, tcp(2222, 8080, 1000, ACK, b"data"), ttl=60)
    assert packet(ethernet(translated, SIX)).identity == bare.identity
    for outer in ((A, B), (A6, B6)):
        found = packet(vxlan(ethernet(ipv6(A6, B6, 6, body), SIX), *outer))
        assert found.encapsulation == Encapsulation("vxlan", 1, *outer)
        assert (found.flow, found.identity) == (bare.flow, bare.identity)
    found = packet(vxlan(ethernet(ipv4(A, B, 6, body)), A6, B6))
    assert found.encapsulation == Encapsulation("vxlan", 1, A6, B6) and found.flow.source == A


@pytest.mark.parametrize(
    ("told", "known", "mtu"),
    [
        ((1, 0), (3, 0), 0),
        ((1, 4), (3, 3), 0),
        ((1, 1), (3, 10), 0),
        ((2, 0), (3, 4), 1430),
        ((3, 0), (11, 0), 0),
    ],
)
def test_icmpv6_errors_are_told_as_those_of_icmp(
    told: tuple[int, int], known: tuple[int, int], mtu: int
) -> None:
    original = ipv6(A6, B6, 17, udp(5000, 6000, b"x"))
    found = packet(ethernet(ipv6(C6, A6, 58, icmp(*told, original, rest=mtu)), SIX))
    assert found.flow == Flow("icmp", C6, 0, A6, 0)
    assert (found.icmp, found.next_mtu, found.about) == (known, mtu, Flow("udp", A6, 5000, B6, 6000))


def test_extension_headers_are_left_out() -> None:
    assert seen(ethernet(ipv6(A6, B6, 44, bytes(8) + udp(1, 2, b"x")), SIX)) is None


def test_vxlan_that_carries_something_else() -> None:
    found = packet(vxlan(arp(A, B), A, B))
    assert found.flow == Flow("udp", A, 50000, B, 8472) and found.encapsulation is None


def test_arp() -> None:
    assert seen(arp(A, B)) == Discovery(3, START, "node1", "eth0", True, False, A, B)
    found = seen(arp(A, B, is_reply=True))
    assert isinstance(found, Discovery) and found.is_reply


def test_neighbour_discovery() -> None:
    assert seen(ndp(A6, B6)) == Discovery(3, START, "node1", "eth0", True, False, A6, B6)
    assert seen(ndp(B6, A6, is_reply=True)) == Discovery(3, START, "node1", "eth0", True, True, B6, A6)
    assert seen(ndp(A6, B6)[:70]) is None
    ping = ethernet(ipv6(A6, B6, 58, icmp(128, 0, bytes(32))), SIX)
    assert packet(ping).icmp == (8, 0), "the same protocol, but nothing about neighbours"


def test_what_is_kept_of_everybody_in_a_capture() -> None:
    ping = ethernet(ipv6(A6, B6, 58, icmp(128, 0, bytes(32))), SIX)
    assert all(map(is_discovery, (arp(A, B), ndp(A6, B6), ndp(B6, A6, is_reply=True))))
    others = (ping, ethernet(ipv4(A, B, 58, b"\x87" + bytes(32))), ping[:54], ping[:13], b"")
    assert not any(map(is_discovery, others))


def test_first_fragment_alone_has_ports() -> None:
    body = udp(1, 2, b"x" * 32)
    assert packet(ethernet(ipv4(A, B, 17, body, fragment=0x2000))).flow == Flow("udp", A, 1, B, 2)
    assert seen(ethernet(ipv4(A, B, 17, body, fragment=0x2004))) is None


@pytest.mark.parametrize("protocol", [2, 47, 132])
def test_other_protocols_are_left_out(protocol: int) -> None:
    assert seen(ethernet(ipv4(A, B, protocol, bytes(40)))) is None


def test_what_is_sent_again_is_another_packet() -> None:
    """The same bytes of TCP, with another IP identification; translated and encapsulated it stays the same."""
    body = tcp(40000, 80, 1000, ACK, b"data")
    first, again = (packet(ethernet(ipv4(A, B, 6, body, number=n))) for n in (7, 8))
    assert first.identity != again.identity
    translated = tcp(2222, 8080, 1000, ACK, b"data")
    assert packet(ethernet(ipv4("10.9.9.9", B, 6, translated, ttl=60))).identity == first.identity


def test_every_cut_of_every_frame() -> None:
    original = ipv4(A, B, 6, tcp(1, 2, 3, ACK))
    frames = [
        ethernet(ipv4(A, B, 6, tcp(1, 2, 3, ACK, b"x" * 8))),
        ethernet(ipv4(A, B, 17, udp(1, 2, b"x" * 8))),
        ethernet(ipv4(A, B, 1, icmp(3, 1, original))),
        vxlan(ethernet(original), A, B),
        arp(A, B),
        ethernet(ipv6(A6, B6, 6, tcp(1, 2, 3, ACK, b"x" * 8)), SIX),
        ethernet(ipv6(A6, B6, 58, icmp(1, 4, ipv6(A6, B6, 17, udp(1, 2, b"x")))), SIX),
        vxlan(ethernet(ipv6(A6, B6, 17, udp(1, 2, b"x")), SIX), A6, B6),
    ]
    for data in frames:
        for end in range(len(data)):
            seen(data[:end])
            glance(data[:end])


@given(st.binary(max_size=200))
def test_random_bytes_never_raise(data: bytes) -> None:
    seen(data)
    glance(data)
    for prefix in (ethernet(b""), ethernet(b"\x45"), ethernet(ipv4(A, B, 17, b""))[:34], ethernet(b"", SIX)):
        seen(prefix + data)
        glance(prefix + data)


addresses = st.ip_addresses(v=4).map(str)
ports = st.integers(0, 65535)


@given(
    *(addresses, addresses, ports, ports, st.booleans(), st.booleans(), st.binary(max_size=40)),
    *(st.sampled_from([b"", bytes(4)]), st.integers(14, 150)),
)
def test_a_glance_tells_what_decoding_does(
    source: str,
    destination: str,
    sport: int,
    dport: int,
    is_tcp: bool,
    overlaid: bool,
    payload: bytes,
    options: bytes,
    end: int,
) -> None:
    body = tcp(sport, dport, 5, ACK, payload) if is_tcp else udp(sport, dport, payload)
    data = ethernet(ipv4(source, destination, 6 if is_tcp else 17, body, options=options))
    data = vxlan(data, A, B)[: end + 50] if overlaid else data[:end]
    found, looked = seen(data), glance(data)
    if isinstance(found, Packet) and looked is not None:
        assert looked == (flow_key(found.flow), mark(found))
        assert key_flow(looked[0]) == found.flow


def test_a_key_has_room_for_icmp() -> None:
    flow = Flow("icmp", A, 0, B, 0)
    assert key_flow(flow_key(flow)) == flow
    six = Flow("tcp", A6, 4000, B6, 80)
    assert key_flow(flow_key(six)) == six
    with pytest.raises(OSError):
        flow_key(Flow("tcp", "no address", 1, B, 2))
    assert socket.inet_ntoa(flow_key(flow)[1:5]) == A


def test_flows_of_both_families_are_found_by_port_and_destination() -> None:
    body = tcp(4000, 80, 9, SYN)
    data = [
        ethernet(ipv4(A, B, 6, body)),
        ethernet(ipv6(A6, B6, 6, body), SIX),
        ethernet(ipv6(C6, B6, 6, body), SIX),
    ]
    found = Sightings([Frame(START + n, "node1", "eth0", True, len(d), d) for n, d in enumerate(data)])
    four, *six = (Flow("tcp", a, 4000, b, 80) for a, b in ((A, B), (A6, B6), (C6, B6)))
    assert found.from_port("tcp", 4000) == [four, *six]
    assert found.towards("tcp", B, 80) == [four] and found.towards("tcp", B6, 80) == six
    assert [p.frame for p in found.of(six[0])] == [1] and found.of(Flow("tcp", "web", 1, B6, 80)) == []
    assert {p.frame for p in found.same(packet(data[1]))} == {1, 2}, "translated"


def test_ip_in_ip_is_looked_into() -> None:
    inner = ipv4("10.244.1.1", "10.244.2.1", 6, tcp(40000, 80, 1000, SYN), ttl=63)
    data = ethernet(ipv4(A, B, 4, inner))
    found = packet(data)
    assert found.flow == Flow("tcp", "10.244.1.1", 40000, "10.244.2.1", 80)
    assert found.encapsulation == Encapsulation("ipip", None, A, B) and found.encapsulation.name == "IPIP"
    assert found.identity == packet(ethernet(inner)).identity
    assert (found.length, found.ttl) == (len(inner), 63)
    glanced = glance(data)
    assert glanced is not None and key_flow(glanced[0]) == found.flow and glanced[1] == mark(found)
    assert glance(ethernet(ipv4(A, B, 4, ipv4(A, B, 6, tcp(1, 2, 3, SYN), options=bytes(4))))) is None
    twice = packet(ethernet(ipv4(A, B, 4, ipv4(B, A, 17, udp(1, 2, b"x")))))
    assert twice.flow.source == B and seen(ethernet(ipv4(A, B, 4, ipv4(A, B, 4, inner)))) is None


def test_ipv6_in_ipv6_is_the_same_packet() -> None:
    inner = ipv6(A6, B6, 6, tcp(40000, 80, 1000, SYN))
    found = packet(ethernet(ipv6(B6, A6, 41, inner), SIX))
    assert found.encapsulation == Encapsulation("ipip", None, B6, A6)
    assert found.flow == Flow("tcp", A6, 40000, B6, 80)
    assert found.identity == packet(ethernet(inner, SIX)).identity
