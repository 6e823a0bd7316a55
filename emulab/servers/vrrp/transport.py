"""The sockets of a virtual router: one for advertisements, and one for what neighbours are told."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from emulab.servers.vrrp.announce import announcement
from emulab.servers.vrrp.packet import CHECKSUM_AT, GROUPS, PROTOCOL, TTL, Advertisement, decoded, encoded

_IPV6_CHECKSUM = 7  # linux/in6.h: the kernel puts it in, and looks at it
_ROOM = 2048
_BURST = 64  # advertisements read at a time


class VrrpTransport:
    """The sockets on one link of the process' own namespace. Raises OSError."""

    def __init__(self, link: str, index: int, own: str) -> None:
        self._family = 6 if ":" in own else 4
        self._own = own
        group = socket.inet_pton(
            socket.AF_INET6 if self._family == 6 else socket.AF_INET, GROUPS[self._family]
        )
        self._index = index
        if self._family == 4:
            sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL)
            member = group + socket.inet_aton(own) + struct.pack("=i", index)  # struct ip_mreqn
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, member)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        else:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, PROTOCOL)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("=i", index))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, TTL)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_CHECKSUM, CHECKSUM_AT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        sock.setblocking(False)
        self.sock = sock
        self._frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # which only sends
        self._frames.bind((link, 0))

    def close(self) -> None:
        self.sock.close()
        self._frames.close()

    def send(self, one: Advertisement) -> None:
        """To all of the virtual router; lost where the link is down."""
        data = encoded(one, self._own if self._family == 4 else "")
        where = (GROUPS[4], 0) if self._family == 4 else (GROUPS[6], 0, 0, self._index)
        with suppress(OSError):
            self.sock.sendto(data, where)

    def announce(self, address: str, mac: bytes) -> None:
        """Tells all neighbours that an address is here."""
        with suppress(OSError):
            self._frames.send(announcement(address, mac))

    def receive(self) -> Iterator[tuple[Advertisement, str]]:
        """What has come, with its source. What isn't in order is left out: nobody from afar has this TTL."""
        for _ in range(_BURST):
            try:
                data, beside, _, sender = self.sock.recvmsg(_ROOM, 64)
            except OSError:
                return
            source = sender[0].partition("%")[0]
            if self._family == 4:
                ttl, data = data[8], data[(data[0] & 0xF) * 4 :]
            else:
                ttl = next(
                    (int.from_bytes(v, "little") for level, kind, v in beside if _is_hops(level, kind)), 0
                )
            if ttl != TTL:
                continue
            with suppress(ValueError):
                yield decoded(data, self._family, source if self._family == 4 else ""), source


def _is_hops(level: int, kind: int) -> bool:
    return (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)
