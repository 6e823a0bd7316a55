"""Ports of the loopback that are a test's own until its end, whatever else the machine binds meanwhile."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_held: list[socket.socket] = []


def has_ipv6() -> bool:
    """Whether loopback has its address of IPv6 here."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def held(kind: str = "tcp", address: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket that keeps a port and refuses who comes, until the test is over.

    One of TCP doesn't listen, though it may later; one of UDP is connected elsewhere, so what others send is
    refused. One socket more may be `beside` it, and is closed at will.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, _KINDS[kind])
    _held.append(sock)
    sock.bind((address, port))
    if kind == "udp":
        sock.connect((address, 9))
    # Not before bind(), which could then give us a UDP port that is held already.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def beside(holder: socket.socket) -> socket.socket:
    """A socket bound to the port that `holder` keeps."""
    sock = socket.socket(holder.family, holder.type)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(holder.getsockname())
    return sock


def bound(address: str = "127.0.0.1", kind: str = "tcp", backlog: int = 100) -> socket.socket:
    """An open socket, non-blocking, on a port that refuses once the socket is closed."""
    sock = beside(held(kind, address))
    if kind == "tcp":
        sock.listen(backlog)
    sock.setblocking(False)
    return sock


def closed_port(kind: str = "tcp") -> int:
    """A port that refuses."""
    return int(held(kind).getsockname()[1])


def give_back() -> None:
    """Closes what is held."""
    while _held:
        _held.pop().close()


@contextlib.contextmanager
def no_descriptors(but: int = 0) -> Iterator[None]:
    """As if this process had as many open as it may have, but so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + but, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
