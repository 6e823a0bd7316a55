"""What is on the wire of a traceroute, of both families, and translations followed from place to place."""

from __future__ import annotations

import socket
import struct

import pytest

from emulab.kernel.rules.conntrack import FlowTuple, TrackedFlow
from emulab.model.families import FAMILIES, IPV4, IPV6, Family
from emulab.toolbox.traceroute.packets import checksum, echo_request, parsed
from emulab.toolbox.traceroute.way import TranslatedFlow, follow, reverse

ENDS = {IPV4: ("198.51.100.2", "203.0.113.10"), IPV6: ("2001:db8::2", "2001:db8::10")}
TYPES = {
    IPV4: {"exceeded": 11, "unreachable": 3, "reply": 0},
    IPV6: {"exceeded": 3, "unreachable": 1, "reply": 129},
}
PORT_CODE = {IPV4: 3, IPV6: 4}


def header(family: Family, protocol: int, payload: bytes) -> bytes:
    packed = b"".join(socket.inet_pton(family.number, address) for address in ENDS[family])
    if family == IPV4:
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 1, protocol, 0) + packed + payload
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 1) + packed + payload


def received(family: Family, message: bytes) -> bytes:
    """As a raw socket gives it: with the header of IPv4, and without that of IPv6."""
    return header(family, family.icmp_number, message) if family == IPV4 else message


def error(family: Family, kind: str, code: int, inner: bytes) -> bytes:
    return received(family, struct.pack("!BBHI", TYPES[family][kind], code, 0, 0) + inner)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_errors_are_known_by_the_packet_that_they_are_about(family: Family) -> None:
    datagram = header(family, socket.IPPROTO_UDP, struct.pack("!HHHH", 40000, 33434, 12, 0) + b"abcd")
    found = parsed(family, error(family, "exceeded", 0, datagram))
    assert found is not None and (found.kind, found.key, found.mark) == ((11, 0), ("udp", 40000, 0), "")
    found = parsed(family, error(family, "unreachable", PORT_CODE[family], datagram))
    assert found is not None and (found.kind, found.mark) == ((3, 3), "")
    segment = header(family, socket.IPPROTO_TCP, struct.pack("!HHI", 40001, 80, 7))
    found = parsed(family, error(family, "unreachable", 1, segment))
    assert found is not None and found.key == ("tcp", 40001, 0) and found.mark in ("!H", "!X")


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_echo_requests_are_known_by_their_numbers(family: Family) -> None:
    request = echo_request(family, 4711, 3)
    found = parsed(family, error(family, "exceeded", 0, header(family, family.icmp_number, request)))
    assert found is not None and found.key == ("icmp", 4711, 3)
    reply = struct.pack("!BBHHH", TYPES[family]["reply"], 0, 0, 4711, 3) + request[8:]
    found = parsed(family, received(family, reply))
    assert found is not None and (found.kind[0], found.key) == (0, ("icmp", 4711, 3))
    assert parsed(family, received(family, request)) is None  # somebody's question isn't an answer


def test_the_checksum_is_the_internets() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D  # the example of RFC 1071, section 3
    request = echo_request(IPV4, 1, 2)
    assert checksum(request) == 0  # over a message with its checksum there is nothing left


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_what_is_cut_short_is_nothing(family: Family) -> None:
    whole = error(family, "exceeded", 0, header(family, socket.IPPROTO_UDP, struct.pack("!HHHH", 1, 2, 8, 0)))
    assert all(parsed(family, whole[:size]) is None for size in range(len(whole) - 8))


def flow(source: str, sport: int, destination: str, dport: int) -> FlowTuple:
    return FlowTuple("tcp", source, sport, destination, dport)


def entry(first: FlowTuple, after: FlowTuple) -> TrackedFlow:
    return TrackedFlow(first, reverse(after), "ESTABLISHED", True, 100)


def test_translations_are_followed() -> None:
    """From the sender's packet to the node port's, and to the pod's; entries of others aren't looked at."""
    sent = flow("198.51.100.2", 40000, "203.0.113.10", 80)
    to_node = flow("10.0.0.10", 41000, "10.0.0.11", 30080)
    to_pod = flow("10.0.0.11", 42000, "10.244.2.3", 8080)
    other = flow("10.0.0.9", 1, "10.0.0.11", 30080)
    entries = [
        ("node1", entry(to_node, to_pod)),
        ("node1", entry(other, to_pod)),
        ("public-lb", entry(sent, to_node)),
        ("router", entry(sent, sent)),
    ]
    assert follow(entries, {sent}) == [
        TranslatedFlow("public-lb", sent, to_node),
        TranslatedFlow("node1", to_node, to_pod),
    ]
    assert follow(entries, set()) == []
    back = [("a", entry(sent, to_node)), ("b", entry(to_node, sent))]
    assert len(follow(back, {sent})) == 2  # a circle ends
