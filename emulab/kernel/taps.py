"""What Python's socket module can't do for packet sockets.

Its `setsockopt` keeps the interpreter's lock, so that threads wait for each other while PACKET_RX_RING waits for
RCU (7 to 15 ms a socket; a foreign function lets go of the lock). Its `bind` has no way to say "every interface".
"""

from __future__ import annotations

import ctypes
import socket
import struct

from emulab.errors import KernelError

_ETH_P_ALL = 3
_libc = ctypes.CDLL(None, use_errno=True)


def set_option(sock: socket.socket, level: int, option: int, value: bytes, what: str) -> None:
    """setsockopt(2) that doesn't hold up other threads. Raises KernelError: `what` couldn't be done."""
    if _libc.setsockopt(sock.fileno(), level, option, value, len(value)):
        raise KernelError(what, errno=ctypes.get_errno())


def bind_everywhere(sock: socket.socket) -> None:
    """Binds a packet socket to all protocols on all interfaces, those included that are yet to come."""
    sockaddr_ll = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, b"")
    if _libc.bind(sock.fileno(), sockaddr_ll, len(sockaddr_ll)):
        raise KernelError("bind a packet socket", errno=ctypes.get_errno())
