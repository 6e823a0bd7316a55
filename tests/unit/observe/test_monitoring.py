"""Frames as lines with objects' names."""

from __future__ import annotations

import pytest
from handmade import ACK, PSH, SYN, arp, ethernet, ipv4, ipv6, tcp, udp, vxlan

from emulab.observe.events import Frame
from emulab.observe.monitoring import PacketEvent, WantedPackets, event_of, json_of, line_of

START = 1_767_225_600_000_000_000
NAMES = {
    ("", "198.51.100.2", 0): "client",
    ("tcp", "10.96.0.7", 80): "svc default/web",
    ("", "fd00::1", 0): "node1",
}


def name(protocol: str, address: str, port: int) -> str:
    return NAMES.get((protocol, address, port)) or NAMES.get(("", address, 0), "")


def event(data: bytes, outgoing: bool = True) -> PacketEvent:
    found = event_of(Frame(START, "default.web-0", "eth0", outgoing, len(data), data))
    assert found is not None
    return found


REQUEST = ethernet(
    ipv4("198.51.100.2", "10.96.0.7", 6, tcp(40000, 80, 1, ACK | PSH, b"GET /x HTTP/1.1\r\n\r\n"))
)


def test_a_line() -> None:
    line = line_of(event(REQUEST), name, wide=False)
    assert line.endswith("web-0/eth0                 → client:40000 → svc default/web:80  GET /x")
    wide = line_of(event(REQUEST, outgoing=False), name, wide=True)
    assert wide.endswith("← client 198.51.100.2:40000 → svc default/web 10.96.0.7:80  GET /x")


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (
            ethernet(ipv6("fd00::1", "fd00::2", 6, tcp(1, 80, 1, SYN)), 0x86DD),
            "node1:1 → [fd00::2]:80  TCP SYN",
        ),
        (
            ethernet(ipv4("10.0.0.1", "10.0.0.2", 17, udp(5, 6, b"abc"))),
            "10.0.0.1:5 → 10.0.0.2:6  UDP, 3 bytes",
        ),
        (arp("198.51.100.2", "10.0.0.2"), "client → 10.0.0.2  ARP who has 10.0.0.2"),
        (vxlan(REQUEST, "10.0.0.11", "10.0.0.12"), "GET /x, in VXLAN 1 10.0.0.11 → 10.0.0.12"),
    ],
)
def test_what_is_told(data: bytes, ends: str) -> None:
    assert line_of(event(data), name, wide=False).endswith(ends)


def test_what_is_not_understood_is_no_event() -> None:
    assert event_of(Frame(START, "a", "b", True, 20, bytes(20))) is None
    assert event_of(Frame(START, "a", "b", True, 60, REQUEST[:30])) is None


def test_drops() -> None:
    dropped = event(REQUEST)._replace(reason="NETFILTER_DROP", location="nf_hook_slow")
    assert line_of(dropped, name, False).endswith("GET /x, DROPPED: NETFILTER_DROP in nf_hook_slow")
    told = json_of(dropped, name)
    assert (told["event"], told["reason"], told["destination"]["name"]) == (
        "drop",
        "NETFILTER_DROP",
        "svc default/web",
    )


def test_what_is_wanted() -> None:
    one = event(REQUEST)
    client, service, other = (frozenset({a}) for a in ("198.51.100.2", "10.96.0.7", "10.0.0.1"))
    assert WantedPackets().admits(one)
    assert WantedPackets(client, service).admits(one) and not WantedPackets(service).admits(one)
    assert WantedPackets(either=service).admits(one) and not WantedPackets(either=other).admits(one)
