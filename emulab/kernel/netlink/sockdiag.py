"""Sockets over NETLINK_SOCK_DIAG (linux/sock_diag.h, linux/inet_diag.h)."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20

_LISTEN, _CLOSE = (
    10,
    7,
)  # states of TCP (net/tcp_states.h); a UDP socket that isn't connected is in the latter
_PROTOCOLS = {"tcp": (int(socket.IPPROTO_TCP), 1 << _LISTEN), "udp": (int(socket.IPPROTO_UDP), 1 << _CLOSE)}

_REQUEST = struct.Struct(
    "=BBBxI48x"
)  # struct inet_diag_req_v2: family, protocol, extensions, states, any socket
_ANSWER = struct.Struct("=4x2s2x16s")  # struct inet_diag_msg, as far as the address
_PORT = struct.Struct("!H")


def question(family: int, protocol: str) -> bytes:
    """Which sockets of a family (AF_INET, AF_INET6) wait for others: of `tcp` those that listen, of `udp` all."""
    number, states = _PROTOCOLS[protocol]
    return _REQUEST.pack(family, number, 0, states)


def bound(body: bytes, family: int) -> tuple[str, int]:
    """The address and port of a socket in an answer."""
    port, address = _ANSWER.unpack_from(body)
    size = 4 if family == socket.AF_INET else 16
    return str(ip_address(address[:size])), int(_PORT.unpack(port)[0])
