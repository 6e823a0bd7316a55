"""From frames to packets: Ethernet, ARP, IPv4, TCP, UDP, ICMP, and what VXLAN carries.

A packet keeps what a trace joins and shows, and nothing else. `identity` is what survives address translation and
encapsulation: TCP's numbers (RFC 9293), UDP's payload, for an ICMP error its IP identification (RFC 792).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from socket import inet_ntoa
from typing import NamedTuple

from emulab.observe.events import Flow, Frame
from emulab.observe.path import Encapsulation

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
VXLAN_PORTS = frozenset({8472, 4789})
_IPV4, _ARP = b"\x08\x00", b"\x08\x06"
_TCP, _UDP, _ICMP = 6, 17, 1
_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})

_UDP_HEADER = struct.Struct("!HHHH")
_TCP_HEADER = struct.Struct("!HHIIBB")

_text = lru_cache(4096)(inet_ntoa)


class Packet(NamedTuple):
    """One packet at one interface. `size` is its payload on the wire, `payload` what was kept of it."""

    frame: int  # index among the frames
    time: int
    place: str
    interface: str
    outgoing: bool
    flow: Flow
    identity: tuple[object, ...]
    encapsulation: Encapsulation | None
    length: int  # of the IP packet
    ttl: int
    fragmentable: bool
    flags: int = 0  # TCP
    sequence: int = 0
    acknowledged: int = 0
    size: int = 0
    payload: bytes = b""
    icmp: tuple[int, int] | None = None  # type and code
    about: Flow | None = None  # the flow of the packet that an ICMP error is about
    next_mtu: int = 0  # of ICMP "fragmentation needed"

    @property
    def significant(self) -> bool:
        """Whether it is more than an acknowledgement."""
        return self.flow.protocol != "tcp" or self.size > 0 or bool(self.flags & (SYN | FIN | RST))


class Arp(NamedTuple):
    """An ARP message (RFC 826)."""

    frame: int
    time: int
    place: str
    interface: str
    outgoing: bool
    is_reply: bool
    sender: str
    target: str


def decode(frames: Iterable[Frame]) -> Iterator[Packet | Arp]:
    """The packets among the frames, in their order. What isn't understood is left out."""
    for number, frame in enumerate(frames):
        data = frame.data
        kind = data[12:14]
        try:
            if kind == _IPV4:
                packet = _ipv4(number, frame, data, 14, None)
                if packet is not None:
                    yield packet
            elif kind == _ARP and len(data) >= 42:
                yield _arp(number, frame)
        except (struct.error, IndexError, OSError):  # cut short
            continue


def _arp(number: int, frame: Frame) -> Arp:
    data = frame.data
    return Arp(
        *(number, frame.time, frame.place, frame.interface, frame.outgoing),
        is_reply=data[20:22] == b"\0\2",
        sender=_text(data[28:32]),
        target=_text(data[38:42]),
    )


def _ipv4(number: int, frame: Frame, data: bytes, at: int, outer: Encapsulation | None) -> Packet | None:
    header = (data[at] & 0xF) * 4
    length = data[at + 2] << 8 | data[at + 3]
    if length == 0:  # larger than 64 KiB (IPv4 BIG TCP): the link's length tells
        length = frame.length - at
    fragment = (data[at + 6] & 0x1F) << 8 | data[at + 7]
    protocol = data[at + 9]
    source, destination = _text(data[at + 12 : at + 16]), _text(data[at + 16 : at + 20])
    if fragment or protocol not in (_TCP, _UDP, _ICMP):
        return None
    body = at + header
    where = (number, frame.time, frame.place, frame.interface, frame.outgoing)
    network = (length, data[at + 8], not data[at + 6] & 0x40)
    if protocol == _TCP:
        sport, dport, seq, ack, offset, flags = _TCP_HEADER.unpack_from(data, body)
        start = body + (offset >> 4) * 4
        size = length - header - (offset >> 4) * 4
        flow = Flow("tcp", source, sport, destination, dport)
        identity: tuple[object, ...] = ("tcp", seq, ack, flags & 0x17, size)
        payload = data[start : start + size]
        return Packet(*where, flow, identity, outer, *network, flags, seq, ack, size, payload)
    if protocol == _UDP:
        sport, dport, udp_length, _ = _UDP_HEADER.unpack_from(data, body)
        start = body + 8
        if outer is None and dport in VXLAN_PORTS and data[start] & 0x08:
            inner = start + 8
            if data[inner + 12 : inner + 14] == _IPV4:
                vni = int.from_bytes(data[start + 4 : start + 7], "big")
                around = Encapsulation("vxlan", vni, source, destination)
                return _ipv4(number, frame, data, inner + 14, around)
        size = (udp_length or length - header) - 8
        payload = data[start : start + size]
        flow = Flow("udp", source, sport, destination, dport)
        return Packet(*where, flow, ("udp", size, payload), outer, *network, size=size, payload=payload)
    return _icmp(where, Flow("icmp", source, 0, destination, 0), data, at, body, outer, network)


def _icmp(
    where: tuple[int, int, str, str, bool],
    flow: Flow,
    data: bytes,
    at: int,
    body: int,
    outer: Encapsulation | None,
    network: tuple[int, int, bool],
) -> Packet:
    kind, code = data[body], data[body + 1]
    mark = data[at + 4 : at + 6]
    about = None
    if kind in _ICMP_ERRORS:
        inner = body + 8
        ports = struct.unpack_from("!HH", data, inner + (data[inner] & 0xF) * 4)
        name = {_TCP: "tcp", _UDP: "udp"}.get(data[inner + 9])
        if name:
            source, destination = _text(data[inner + 12 : inner + 16]), _text(data[inner + 16 : inner + 20])
            about = Flow(name, source, ports[0], destination, ports[1])
    (mtu,) = struct.unpack_from("!H", data, body + 6)
    identity = ("icmp", kind, code, mark, network[0])
    icmp = (kind, code)
    return Packet(
        *(*where, flow, identity, outer, *network),
        icmp=icmp,
        about=about,
        next_mtu=mtu if icmp == (3, 4) else 0,
        payload=data[body + 8 : body + 8 + 64],
    )
