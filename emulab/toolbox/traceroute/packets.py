"""ICMP of both families, as a raw socket of either gives it. Pure."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import NamedTuple

from emulab.model.families import IPV4, IPV6, Family
from emulab.observe.join.packets import told_as_icmp

ECHO_REPLY, UNREACHABLE, ECHO_REQUEST, EXCEEDED = 0, 3, 8, 11
"""Types of ICMP (RFC 792). Those of ICMPv6 are told in them, see `told_as_icmp`."""
PORT_UNREACHABLE = (UNREACHABLE, 3)
REFUSED = "!R"
"""What isn't traceroute(8)'s: "port unreachable" of somebody who isn't the target, as rules say it that reject."""

_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_ECHO_TYPES: Mapping[int, int] = {IPV4.number: ECHO_REQUEST, IPV6.number: 128}
_PORTS = struct.Struct("!HH")
_TRANSPORTS = {int(socket.IPPROTO_TCP): "tcp", int(socket.IPPROTO_UDP): "udp"}
_UNREACHED = {0: "!N", 1: "!H", 2: "!P", 4: "!F", 9: "!X", 10: "!X", 13: "!X"}

ProbeKey = tuple[str, int, int]
"""What a packet of ours is known by: its protocol, its port, and the number of an echo request (else 0)."""


class IcmpMessage(NamedTuple):
    """A message about a packet with such a key, or the answer to an echo request with it."""

    kind: tuple[int, int]  # type and code of ICMP
    key: ProbeKey

    @property
    def mark(self) -> str:
        """As traceroute(8) writes why a packet went no further; "" where that is nothing special."""
        if self.kind[0] != UNREACHABLE or self.kind == PORT_UNREACHABLE:
            return ""
        return _UNREACHED.get(self.kind[1], f"!{self.kind[1]}")


def echo_request(family: Family, identifier: int, number: int) -> bytes:
    """An echo request. The checksum of ICMPv6 is the kernel's to fill in (RFC 3542, section 3.1)."""
    data = b"emulab traceroute"
    head = _ECHO.pack(_ECHO_TYPES[family.number], 0, 0, identifier, number)
    if family == IPV6:
        return head + data
    return _ECHO.pack(ECHO_REQUEST, 0, checksum(head + data), identifier, number) + data


def checksum(data: bytes) -> int:
    """The Internet's checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def parsed(family: Family, data: bytes) -> IcmpMessage | None:
    """What a raw socket of ICMP has received; None for what is neither about a packet nor an answer."""
    try:
        at = (data[0] & 0xF) * 4 if family == IPV4 else 0  # a raw socket of IPv6 gives no header of IP
        kind = (data[at], data[at + 1])
        if family == IPV6:
            if kind[0] > 4 and kind[0] != 129:  # errors come first, and of the others only answers are wanted
                return None
            kind = told_as_icmp(*kind)
        if kind[0] == ECHO_REPLY:
            return IcmpMessage(kind, ("icmp", *_ECHO.unpack_from(data, at)[3:]))
        if kind[0] not in (UNREACHABLE, EXCEEDED):
            return None
        key = _key_of(family, data, at + _ECHO.size)
    except (IndexError, struct.error):
        return None
    return IcmpMessage(kind, key) if key else None


def _key_of(family: Family, data: bytes, at: int) -> ProbeKey | None:
    """The key of the packet that an error has in it."""
    if family == IPV4:
        protocol, body = data[at + 9], at + (data[at] & 0xF) * 4
    else:
        protocol, body = data[at + 6], at + family.header
    if protocol == family.icmp_number:
        return "icmp", *_ECHO.unpack_from(data, body)[3:]
    name = _TRANSPORTS.get(protocol)
    return (name, _PORTS.unpack_from(data, body)[0], 0) if name else None
