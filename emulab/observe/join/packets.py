"""From frames to packets: Ethernet, ARP, IPv4, IPv6, TCP, UDP, ICMP, and what VXLAN and IP in IP carry.

A packet keeps what a trace joins and shows, and nothing else. `identity` is what survives address translation and
encapsulation: the IP identification, which tells what is sent again from what is seen again (a connected socket
counts it up, net/ipv4/ip_output.c), and TCP's numbers (RFC 9293), the beginning of UDP's payload, ICMP's type. IPv6
has no identification, so there only the place tells: what is seen again where it was is sent again, and what leaves
a place with no hop less than it came with is sent anew (`sightings`).

ICMPv6 is told in the types and codes of ICMP, as a translator tells it (RFC 7915, section 5.2), but for a missing
route, which has a code in both, and is one error to who sent (ENETUNREACH).

Most frames are somebody else's. `glance` tells the flow of a frame at a tenth of the price of `decode`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from socket import AF_INET6, inet_aton, inet_ntoa, inet_ntop, inet_pton
from typing import NamedTuple

from emulab.model.families import IPV4, IPV6
from emulab.observe.events import Flow, Frame
from emulab.observe.path import Encapsulation

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
VXLAN_PORTS = frozenset({8472, 4789})
_IPV4, _IPV6, _ARP = b"\x08\x00", b"\x86\xdd", b"\x08\x06"
_IPIP, _IPV6_IN_IPV6 = 4, 41  # a header in another one (RFC 2003, RFC 2473)
_TCP, _UDP, _ICMP, _ICMPV6 = 6, 17, IPV4.icmp_number, IPV6.icmp_number
_NUMBERS = {"icmp": b"\x01", "tcp": b"\x06", "udp": b"\x11"}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_PLAIN_IPV4 = _IPV4 + b"\x45"  # a header without options
_VXLAN = frozenset(port.to_bytes(2, "big") for port in VXLAN_PORTS)
_WHOLE = frozenset({b"\x00\x00", b"\x40\x00"})  # no fragment
_KEY = 13  # bytes of a flow key of IPv4
_LEAST = {b"\x06": 34, b"\x11": 28}  # bytes, with the IP header, that are looked at
_ICMPV6_AT = 14 + IPV6.header  # in a frame
_SOLICITATION, _ADVERTISEMENT = b"\x87", b"\x88"  # types of ICMPv6 (RFC 4861)
_NDP = frozenset({_SOLICITATION, _ADVERTISEMENT})
_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
_IN_ICMP = {
    (1, 0): (3, 0),
    (1, 1): (3, 10),
    (1, 2): (3, 1),
    (1, 3): (3, 1),
    (1, 4): (3, 3),
    (2, 0): (3, 4),
    (3, 0): (11, 0),
    (3, 1): (11, 1),
    (4, 1): (3, 2),
    (128, 0): (8, 0),
    (129, 0): (0, 0),
}
"""Type and code of ICMPv6 (RFC 4443) → those of ICMP."""

_IDENTIFYING = 512  # bytes of a UDP payload: what is captured of one in an overlay ends earlier
_MARK = 16

_UDP_HEADER = struct.Struct("!HHHH")
_TCP_HEADER = struct.Struct("!HHIIBB")

_text = lru_cache(4096)(inet_ntoa)


@lru_cache(4096)
def _text6(packed: bytes) -> str:
    return inet_ntop(AF_INET6, packed)


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
    icmp: tuple[int, int] | None = None  # type and code, those of ICMP in IPv6, too
    about: Flow | None = None  # the flow of the packet that an ICMP error is about
    next_mtu: int = 0  # of ICMP "fragmentation needed"

    @property
    def significant(self) -> bool:
        """Whether the packet is more than an acknowledgement."""
        return self.flow.protocol != "tcp" or self.size > 0 or bool(self.flags & (SYN | FIN | RST))


class Discovery(NamedTuple):
    """A question for a neighbour's link address, or its answer: ARP (RFC 826), or NDP in IPv6 (RFC 4861)."""

    frame: int
    time: int
    place: str
    interface: str
    outgoing: bool
    is_reply: bool
    sender: str
    target: str  # of a question: whose link address is wanted


def decode(number: int, frame: Frame) -> Packet | Discovery | None:
    """The packet in a frame; None for what isn't understood or was cut too short. `number` is the frame's."""
    data = frame.data
    kind = data[12:14]
    try:
        if kind in _HEADERS and not is_discovery(data):
            return _packet(number, frame, data, 14, _HEADERS[kind], None)
        if kind == _ARP and len(data) >= 42:
            return _arp(number, frame)
        if kind == _IPV6 and len(data) >= _ICMPV6_AT + 24:
            return _ndp(number, frame)
    except (struct.error, IndexError, OSError, ValueError):
        pass
    return None


def is_discovery(data: bytes) -> bool:
    """Whether a frame is one of ARP, or one of NDP that asks for a neighbour or answers."""
    kind = data[12:14]
    if kind != _IPV6:
        return kind == _ARP
    return data[20:21] == b"\x3a" and data[_ICMPV6_AT : _ICMPV6_AT + 1] in _NDP


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
    elif len(data) > 34 and data[23] == _IPIP:
        at = 34
        if data[34] != _PLAIN_IPV4[2]:
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
    """A flow as `glance` tells it: protocol, addresses, ports. Raises OSError for what is no address."""
    ports = struct.pack("!HH", flow.source_port, flow.destination_port)
    return _NUMBERS[flow.protocol] + _packed(flow.source) + _packed(flow.destination) + ports


def key_flow(key: bytes) -> Flow:
    """The flow of a `flow_key`."""
    ports = struct.unpack_from("!HH", key, len(key) - 4)
    half, text = (5, _text) if len(key) == _KEY else (17, _text6)
    return Flow(_NAMES[key[:1]], text(key[1:half]), ports[0], text(key[half:-4]), ports[1])


def key_source(key: bytes) -> bytes:
    """What the keys of all flows of a protocol from a port have in common."""
    return key[:1] + key[-4:-2]


def key_destination(key: bytes) -> bytes:
    """What the keys of all flows of a protocol to an address and port have in common."""
    return key[:1] + key[(5 if len(key) == _KEY else 17) : -4] + key[-2:]


def _packed(address: str) -> bytes:
    return inet_pton(AF_INET6, address) if ":" in address else inet_aton(address)


def mark(packet: Packet) -> bytes:
    """A part of the identity: two packets with different marks are different packets."""
    if packet.flow.protocol == "tcp":
        return struct.pack("!II", packet.sequence, packet.acknowledged)
    if packet.flow.protocol == "udp":
        return packet.payload[:_MARK]
    return struct.pack("!BB", *(packet.icmp or (0, 0)))


def _arp(number: int, frame: Frame) -> Discovery:
    data = frame.data
    return Discovery(
        *(number, frame.time, frame.place, frame.interface, frame.outgoing),
        is_reply=data[20:22] == b"\0\2",
        sender=_text(data[28:32]),
        target=_text(data[38:42]),
    )


def _ndp(number: int, frame: Frame) -> Discovery:
    """A solicitation or an advertisement of a neighbour (RFC 4861, sections 4.3 and 4.4)."""
    data = frame.data
    is_reply = data[_ICMPV6_AT : _ICMPV6_AT + 1] == _ADVERTISEMENT
    about = _text6(data[_ICMPV6_AT + 8 : _ICMPV6_AT + 24])
    return Discovery(
        *(number, frame.time, frame.place, frame.interface, frame.outgoing),
        is_reply=is_reply,
        sender=about if is_reply else _text6(data[22:38]),
        target=_text6(data[38:54]) if is_reply else about,
    )


_Header = tuple[str, str, int, int, int, int, bool, int]
"""Source, destination, protocol, where what is carried begins, length of the whole packet, TTL, whether it may be
fragmented, identification (0 where there is none)."""


def _ipv4(frame: Frame, data: bytes, at: int) -> _Header | None:
    """What an IPv4 header says; None for a later fragment."""
    if (data[at + 6] & 0x1F) << 8 | data[at + 7]:
        return None
    # A length of 0 is larger than 64 KiB (IPv4 BIG TCP): the link's length tells.
    length = data[at + 2] << 8 | data[at + 3] or frame.length - at
    source, destination = _text(data[at + 12 : at + 16]), _text(data[at + 16 : at + 20])
    body, identification = at + (data[at] & 0xF) * 4, data[at + 4] << 8 | data[at + 5]
    fragmentable = not data[at + 6] & 0x40
    return source, destination, data[at + 9], body, length, data[at + 8], fragmentable, identification


def _ipv6(frame: Frame, data: bytes, at: int) -> _Header | None:
    """What an IPv6 header says (RFC 8200, section 3). What has extension headers isn't looked into."""
    length = data[at + 4] << 8 | data[at + 5]
    source, destination = _text6(data[at + 8 : at + 24]), _text6(data[at + 24 : at + 40])
    whole = length + 40 if length else frame.length - at
    return source, destination, data[at + 6], at + 40, whole, data[at + 7], False, 0


_HEADERS = {_IPV4: _ipv4, _IPV6: _ipv6}
"""By the ethertype."""
_TUNNELLED = {_IPIP: _ipv4, _IPV6_IN_IPV6: _ipv6}
"""By the protocol of what is in IP in IP."""


def _packet(
    number: int,
    frame: Frame,
    data: bytes,
    at: int,
    read: Callable[[Frame, bytes, int], _Header | None],
    outer: Encapsulation | None,
) -> Packet | None:
    header = read(frame, data, at)
    if header is None:
        return None
    source, destination, protocol, body, length, ttl, fragmentable, identification = header
    where = (number, frame.time, frame.place, frame.interface, frame.outgoing)
    network = (length, ttl, fragmentable)
    left = length - (body - at)
    if protocol == _TCP:
        sport, dport, seq, ack, offset, flags = _TCP_HEADER.unpack_from(data, body)
        start = body + (offset >> 4) * 4
        size = max(0, left - (offset >> 4) * 4)
        flow = Flow("tcp", source, sport, destination, dport)
        identity: tuple[object, ...] = ("tcp", identification, seq, ack, flags & 0x17, size)
        payload = data[start : start + size]
        return Packet(*where, flow, identity, outer, *network, flags, seq, ack, size, payload)
    if protocol == _UDP:
        sport, dport, udp_length, _ = _UDP_HEADER.unpack_from(data, body)
        start = body + 8
        if outer is None and dport in VXLAN_PORTS and data[start] & 0x08:
            inner = start + 8
            if (carried := _HEADERS.get(data[inner + 12 : inner + 14])) is not None:
                vni = int.from_bytes(data[start + 4 : start + 7], "big")
                around = Encapsulation("vxlan", vni, source, destination)
                return _packet(number, frame, data, inner + 14, carried, around)
        size = max(0, (udp_length or left) - 8)
        payload = data[start : start + size]
        flow = Flow("udp", source, sport, destination, dport)
        identity = ("udp", identification, size, payload[:_IDENTIFYING])
        return Packet(*where, flow, identity, outer, *network, size=size, payload=payload)
    if outer is None and (within := _TUNNELLED.get(protocol)) is not None:
        return _packet(number, frame, data, body, within, Encapsulation("ipip", None, source, destination))
    if protocol not in (_ICMP, _ICMPV6):
        return None
    kind = data[body], data[body + 1]
    if protocol == _ICMPV6:
        kind = told_as_icmp(*kind)
    identity = ("icmp", *kind, identification, length)
    about = _about(frame, data, body + 8, read) if kind[0] in _ICMP_ERRORS else None
    mtu = struct.unpack_from("!I", data, body + 4)[0] & 0xFFFF  # ICMP's is in the second half
    return Packet(
        *(*where, Flow("icmp", source, 0, destination, 0), identity, outer, *network),
        icmp=kind,
        about=about,
        next_mtu=mtu if kind == (3, 4) else 0,
        payload=data[body + 8 : body + 8 + 64],
    )


def told_as_icmp(kind: int, code: int) -> tuple[int, int]:
    """Type and code of ICMP for those of a message of ICMPv6; the same where there are none."""
    return _IN_ICMP.get((kind, code), (kind, code))


def _about(
    frame: Frame, data: bytes, at: int, read: Callable[[Frame, bytes, int], _Header | None]
) -> Flow | None:
    """The flow of the packet that an ICMP error has in it, be it the beginning alone."""
    header = read(frame, data, at)
    if header is None:
        return None
    source, destination, protocol, body, *_ = header
    name = {_TCP: "tcp", _UDP: "udp"}.get(protocol)
    if name is None:
        return None
    ports = struct.unpack_from("!HH", data, body)
    return Flow(name, source, ports[0], destination, ports[1])
