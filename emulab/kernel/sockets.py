"""Sockets in a given network namespace, to be used from anywhere."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Container, Iterable
from contextlib import suppress

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.model.addresses import socket_name

BACKLOG = 1024
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_SIOCGSKNS = 0x894C  # linux/sockios.h: a descriptor of the namespace that a socket belongs to


def open_listeners(
    wanted: Iterable[tuple[str, str, int]], everywhere: Container[str] = (), several: bool = False
) -> dict[str, socket.socket]:
    """Listening sockets, non-blocking, by key (`tcp/10.0.0.10/80`, `tcp/127.0.0.1/80@node1`).

    `wanted` are triples of key, namespace's name (for errors) and its descriptor; the keys in `everywhere` are
    bound to all addresses of their family. `several`: others may listen there, too (SO_REUSEPORT). All or none; raises
    KernelError naming the address that is in use.
    """
    todo = list(wanted)
    opened: dict[str, socket.socket] = {}

    def opener(key: str, namespace: str) -> Callable[[], None]:
        return lambda: opened.__setitem__(key, _listener(key, namespace, key in everywhere, several))

    try:
        netns.inside_each((fd, opener(key, namespace)) for key, namespace, fd in todo)
    except BaseException:
        for sock in opened.values():
            sock.close()
        raise
    return opened


def _listener(key: str, namespace: str, everywhere: bool, several: bool) -> socket.socket:
    protocol, address, port = key.partition("@")[0].split("/")
    if everywhere:
        address = "::" if ":" in address else "0.0.0.0"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:  # the IPv4 address of the same place has a socket of its own
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if several:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, int(port)))
        if protocol == "tcp":
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        what = f"listen on {protocol} {socket_name(address, port)}"
        raise KernelError(what, namespace, error.errno or 0) from None
    sock.setblocking(False)
    return sock


def open_socket(fd: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A fresh socket that belongs to the namespace of `fd`, non-blocking."""
    (sock,) = open_sockets(fd, family, kind, protocol)
    return sock


def open_sockets(fd: int, family: int, kind: int, protocol: int = 0, count: int = 1) -> list[socket.socket]:
    """So many of them, all or none."""
    made: list[socket.socket] = []

    def make() -> list[socket.socket]:
        try:
            for _ in range(count):
                made.append(socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol))
                made[-1].setblocking(False)
        except BaseException:
            for sock in made:
                sock.close()
            raise
        return made

    return netns.inside(fd, make)


def open_socket_beside(other: socket.socket, family: int, kind: int) -> socket.socket:
    """A socket in the network namespace of another, which the kernel knows. Raises KernelError, OSError."""
    here = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    here.setblocking(False)
    with suppress(OSError):  # before Linux 5.14
        if _cookie(here) == _cookie(other):
            return here  # who isn't root in a namespace may still be in it
    here.close()
    namespace = fcntl.ioctl(other.fileno(), _SIOCGSKNS)
    try:
        return open_socket(namespace, family, kind)
    finally:
        os.close(namespace)


def _cookie(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
