"""Listening sockets beside one that is there, at the same address, and which of them get connections."""

from __future__ import annotations

import socket
import struct
from array import array
from contextlib import suppress

from emulab.servers.crew import listening

# asm-generic/socket.h, linux/filter.h
_SO_ATTACH_REUSEPORT_CBPF, _SO_DETACH_REUSEPORT_BPF = 51, 68
_LOAD_WORD, _MODULO, _RETURN = 0x20, 0x94, 0x16
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter


def beside(first: socket.socket) -> socket.socket:
    """One more. The first one needn't have been opened for that: it shares its address from now on. Raises
    KernelError."""
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    v6only = (
        first.family == socket.AF_INET6 and first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    )
    return listening.beside(first.family, socket.SOCK_STREAM, first.getsockname(), v6only)


def lead_to_first(sock: socket.socket, number: int) -> None:
    """Of all sockets at the address of this one, the first so many get connections from now on, by chance.

    What waits at the others may be taken there before they are closed, with which it would be refused.
    """
    code = array("B", b"".join(_INSTRUCTION.pack(*one) for one in _one_of(number)))
    address, size = code.buffer_info()
    program = struct.pack("@HP", size // _INSTRUCTION.size, address)  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)


def _one_of(number: int) -> tuple[tuple[int, int, int, int], ...]:
    return (_LOAD_WORD, 0, 0, _RANDOM), (_MODULO, 0, 0, number), (_RETURN, 0, 0, 0)


def lead_to_all(sock: socket.socket) -> None:
    """All of them get connections, as if nobody had ever said otherwise."""
    with suppress(OSError):  # nobody has
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
