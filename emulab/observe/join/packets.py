"""From frames to packets: Ethernet, ARP, IPv4, TCP, UDP, ICMP, and what VXLAN carries.

A packet keeps what a trace joins and shows, and nothing else. `identity` is what survives address translation and
encapsulation: the IP identification, which tells what is sent again from what is seen again (a connected socket
counts it up, net/ipv4/ip_output.c), and TCP's numbers (RFC 9293), the beginning of UDP's payload, ICMP's type.

Most frames are somebody else's. `glance` tells the flow of a frame at a tenth of the price of `decode`.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from socket import inet_aton, inet_ntoa
from typing import NamedTuple

from emulab.observe.events import Flow, Frame
from emulab.observe.path import Encapsulation

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
VXLAN_PORTS = frozenset({8472, 4789})
_IPV4, _ARP = b"\x08\x00", b"\x08\x06"
_TCP, _UDP, _ICMP = 6, 17, 1
_NUMBERS = {"icmp": b"\x01", "tcp": b"\x06", "udp": b"\x11"}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_PLAIN_IPV4 = _IPV4 + b"\x45"  # a header without options
_VXLAN = frozenset(port.to_bytes(2, "big") for port in VXLAN_PORTS)
_WHOLE = frozenset({b"\x00\x00", b"\x40\x00"})  # no fragment
_LEAST = {b"\x06": 34, b"\x11": 28}  # bytes, with the IP header, that are looked at
_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})

_IDENTIFYING = 512  # bytes of a UDP payload: what is captured of one in an overlay ends earlier
_MARK = 16

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


def decode(number: int, frame: Frame) -> Packet | Arp | None:
    """The packet in a frame; None for what isn't understood or was cut too short. `number` is the frame's."""
    data = frame.data
    kind = data[12:14]
    try:
        if kind == _IPV4:
            return _ipv4(number, frame, data, 14, None)
        if kind == _ARP and len(data) >= 42:
            return _arp(number, frame)
    except (struct.error, IndexError, OSError):
        pass
    return None


def glance(data: bytes) -> tuple[bytes, bytes] | None:
    """The `flow_key` and the `mark` of the TCP or UDP packet in a frame; None where `decode` has to look.

    Of a frame that was cut short they say nothing that is to be relied upon.
    """
    if data[12:15] != _PLAIN_IPV4:
        return None
    at = 14
    if len(data) > 76 and data[23] == _UDP and data[36:38] in _VXLAN and data[42] & 0x08:
        at = 64
        if data[62:65] != _PLAIN_IPV4:
            return None
    protocol = data[at + 9 : at + 10]
    if data[at + 6 : at + 8] not in _WHOLE or len(data) < at + _LEAST.get(protocol, 1 << 16):
        return None
    if protocol == b"\x06":
        mark = data[at + 24 : at + 32]
    else:
        size = int.from_bytes(data[at + 24 : at + 26], "big") - 8
        if size < 0:
            return None
        mark = data[at + 28 : at + 28 + min(size, _MARK)]
    return protocol + data[at + 12 : at + 24], mark


def flow_key(flow: Flow) -> bytes:
    """A flow as `glance` tells it."""
    ports = struct.pack("!HH", flow.source_port, flow.destination_port)
    return _NUMBERS[flow.protocol] + inet_aton(flow.source) + inet_aton(flow.destination) + ports


def key_flow(key: bytes) -> Flow:
    """The flow of a `flow_key`."""
    ports = struct.unpack_from("!HH", key, 9)
    return Flow(_NAMES[key[:1]], _text(key[1:5]), ports[0], _text(key[5:9]), ports[1])


def mark(packet: Packet) -> bytes:
    """A part of the identity: two packets with different marks are different packets."""
    if packet.flow.protocol == "tcp":
        return struct.pack("!II", packet.sequence, packet.acknowledged)
    if packet.flow.protocol == "udp":
        return packet.payload[:_MARK]
    return struct.pack("!BB", *(packet.icmp or (0, 0)))


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
    identification = data[at + 4] << 8 | data[at + 5]
    if protocol == _TCP:
        sport, dport, seq, ack, offset, flags = _TCP_HEADER.unpack_from(data, body)
        start = body + (offset >> 4) * 4
        size = max(0, length - header - (offset >> 4) * 4)
        flow = Flow("tcp", source, sport, destination, dport)
        identity: tuple[object, ...] = ("tcp", identification, seq, ack, flags & 0x17, size)
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
        size = max(0, (udp_length or length - header) - 8)
        payload = data[start : start + size]
        flow = Flow("udp", source, sport, destination, dport)
        identity = ("udp", identification, size, payload[:_IDENTIFYING])
        return Packet(*where, flow, identity, outer, *network, size=size, payload=payload)
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
