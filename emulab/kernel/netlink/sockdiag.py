"""Sockets over NETLINK_SOCK_DIAG (linux/sock_diag.h, linux/inet_diag.h)."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import NamedTuple

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


STATES = {
    1: "ESTAB",
    2: "SYN-SENT",
    3: "SYN-RECV",
    4: "FIN-WAIT-1",
    5: "FIN-WAIT-2",
    6: "TIME-WAIT",
    7: "UNCONN",
    8: "CLOSE-WAIT",
    9: "LAST-ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "SYN-RECV",
}
"""States of sockets (net/tcp_states.h) in the words of ss(8). Those of UDP are ESTAB and UNCONN."""

_EVERY_STATE = 0xFFFFFFFF
_WHOLE = struct.Struct("=BBBx2s2s16s16s12xIIIII")  # struct inet_diag_msg


class SocketState(NamedTuple):
    """A socket as ss(8) tells of it."""

    protocol: str  # tcp | udp
    state: str
    address: str
    port: int
    peer: str
    peer_port: int
    waiting: (
        int  # bytes that the program hasn't read; of one that listens, connections that it hasn't accepted
    )
    unsent: int  # bytes that the peer hasn't acknowledged; of one that listens, how many connections may wait


def leaving(family: int) -> bytes:
    """The TCP sockets of a family that have ended their stream, of which the other side hasn't acknowledged all."""
    states = sum(
        1 << number for number, name in STATES.items() if name in ("FIN-WAIT-1", "CLOSING", "LAST-ACK")
    )
    return _REQUEST.pack(family, _PROTOCOLS["tcp"][0], 0, states)


def everything(family: int, protocol: str) -> bytes:
    """All sockets of a family and a protocol, in whatever state."""
    return _REQUEST.pack(family, _PROTOCOLS[protocol][0], 0, _EVERY_STATE)


def state_of(body: bytes, protocol: str) -> SocketState:
    """The socket in an answer."""
    family, state, _, port, peer_port, address, peer, _, waiting, unsent, _, _ = _WHOLE.unpack_from(body)
    size = 4 if family == socket.AF_INET else 16
    return SocketState(
        *(protocol, STATES.get(state, str(state))),
        *(str(ip_address(address[:size])), int(_PORT.unpack(port)[0])),
        *(str(ip_address(peer[:size])), int(_PORT.unpack(peer_port)[0])),
        *(waiting, unsent),
    )
