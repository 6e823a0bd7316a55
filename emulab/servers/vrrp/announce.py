"""Frames that tell neighbours where an address is: ARP announcements (RFC 5227, 3) and unsolicited Neighbor
Advertisements (RFC 4861, 7.2.6). Pure."""

from __future__ import annotations

import ipaddress
import struct

from emulab.servers.vrrp.packet import internet_checksum

_ARP, _IPV6 = 0x0806, 0x86DD
_REQUEST = 1
_ADVERTISEMENT, _OVERRIDE = 136, 0x20000000
_TARGET_ADDRESS = 2  # the option that has the MAC
_ICMPV6, _HOPS = 58, 255
_ALL_NODES = ipaddress.IPv6Address("ff02::1")


def announcement(address: str, mac: bytes) -> bytes:
    """The frame, as it goes over Ethernet."""
    own = ipaddress.ip_address(address)
    if isinstance(own, ipaddress.IPv4Address):
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST) + mac + own.packed + bytes(6) + own.packed
        return b"\xff" * 6 + mac + struct.pack("!H", _ARP) + body
    option = struct.pack("!BB", _TARGET_ADDRESS, 1) + mac
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + own.packed + option
    pseudo = own.packed + _ALL_NODES.packed + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", internet_checksum(pseudo + body)) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, _HOPS) + own.packed + _ALL_NODES.packed
    return b"\x33\x33\x00\x00\x00\x01" + mac + struct.pack("!H", _IPV6) + head + body
