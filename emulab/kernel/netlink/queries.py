"""Asking the kernel over netlink and taking its answers apart: what rtnetlink and nfnetlink have in common."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Iterator

from emulab.errors import KernelError
from emulab.kernel.netlink.codec import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR

_NLMSG_DONE = 3
_NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x10, 0x300
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_BUFFER = 1 << 16
_ATTEMPTS = 5
_sequence = itertools.count(1)

Attributes = dict[int, bytes]


class Refused(OSError):
    """The kernel's answer to a question is an error; `errno` says which."""


def ask(sock: socket.socket, kind: int, payload: bytes) -> bytes:
    """The payload of the kernel's answer to a question that has one. Raises Refused."""
    return _asked(sock, kind, NLM_F_REQUEST, payload)[0][0]


def command(sock: socket.socket, kind: int, payload: bytes) -> None:
    """Sends a change and waits until it is made. Raises Refused."""
    _asked(sock, kind, NLM_F_REQUEST | NLM_F_ACK, payload)


def dump(sock: socket.socket, kind: int, payload: bytes, what: str) -> list[bytes]:
    """The payloads of a whole table, asked for again when it changed meanwhile. Raises KernelError."""
    try:
        for _ in range(_ATTEMPTS):
            found, torn = _asked(sock, kind, NLM_F_REQUEST | _NLM_F_DUMP, payload)
            if not torn:
                break
    except OSError as error:
        raise KernelError(what, errno=error.errno or 0) from None
    return found


def _asked(sock: socket.socket, kind: int, flags: int, payload: bytes) -> tuple[list[bytes], bool]:
    sequence = next(_sequence) & 0xFFFFFFFF
    sock.send(_HEADER.pack(len(payload) + 16, kind, flags, sequence, 0) + payload)
    found: list[bytes] = []
    torn = False
    while True:
        for answer, answered, body, of in messages(sock.recv(_BUFFER)):
            if of != sequence:
                continue  # left over from a question whose answer nobody waited for
            torn = torn or bool(answered & _NLM_F_DUMP_INTR)
            if answer == NLMSG_ERROR:
                _raise_for(body)
                return found, torn
            if answer == _NLMSG_DONE:
                _raise_for(body)  # a dump may also fail on the way
                return found, torn
            found.append(body)
            if not flags & _NLM_F_DUMP:
                return found, torn  # ctnetlink says NLM_F_MULTI of its single answer, too


def _raise_for(body: bytes) -> None:
    (code,) = struct.unpack_from("=i", body)
    if code < 0:
        raise Refused(-code, os.strerror(-code))


def messages(data: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """The messages in what was received: type, flags, payload, sequence number."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, data[offset + _HEADER.size : offset + length], sequence
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> Attributes:
    """Attributes by number, from `offset` on; of several with one number the last."""
    found: Attributes = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def text(value: bytes) -> str:
    """A string attribute."""
    return value.partition(b"\0")[0].decode(errors="replace")
