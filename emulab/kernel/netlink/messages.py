"""Netlink messages: a request as a value, its bytes, and the messages in what was received (RFC 3549, section 2.3)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from emulab.dataclass import dataclass

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_ACK_TLVS = 0x200  # of an error: the kernel's words follow
NLMSG_ERROR, NLMSG_DONE = 2, 3
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 1, 10, 11
NETLINK_ROUTE, NETLINK_NETFILTER, NETLINK_GENERIC = 0, 12, 16
AF_UNSPEC, AF_BRIDGE = 0, 7
FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
"""Of addresses, by their version. Those of nfnetlink (NFPROTO_IPV4, NFPROTO_IPV6) are the same numbers."""

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port


@dataclass(frozen=True, slots=True)
class Message:
    """A request without its sequence number. `what` says in words what it does, for errors."""

    type: int
    flags: int
    payload: bytes
    what: str = ""


def framed(message: Message, sequence: int, flags: int = 0) -> bytes:
    """A request as bytes, with more flags than its own. Not padded."""
    size = len(message.payload) + HEADER.size
    return (
        HEADER.pack(size, message.type, message.flags | NLM_F_REQUEST | flags, sequence, 0) + message.payload
    )


def received(data: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """The messages in what was received: type, flags, payload, sequence number."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, flags, data[offset + HEADER.size : offset + length], sequence
        offset += (length + 3) & ~3


def open_socket(protocol: int) -> socket.socket:
    """A netlink socket of the calling thread's namespace, to which it belongs for ever. Raises OSError."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
