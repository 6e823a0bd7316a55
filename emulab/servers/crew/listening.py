"""Listening sockets beside one that is there, among which the kernel shares out connections (SO_REUSEPORT)."""

from __future__ import annotations

import socket
from typing import Any

from emulab.errors import KernelError

_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn


def beside(family: int, kind: int, address: Any, v6only: bool = True) -> socket.socket:
    """One more, which doesn't block, at an address where another one listens that has SO_REUSEPORT, too. Raises
    KernelError."""
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise KernelError(f"listen at {address} once more", errno=error.errno or 0) from None
    return sock
