"""Connections that are made from here."""

from __future__ import annotations

import socket

from emulab.servers.streams.epollset import EpollSet
from emulab.servers.streams.plain import StreamProtocol, StreamTransport


async def connect(epoll_set: EpollSet, address: str, port: int, protocol: StreamProtocol) -> StreamTransport:
    """Connects to an IP address, and has `protocol` serve the connection. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await epoll_set.loop.sock_connect(sock, (address, port))
        transport = StreamTransport(epoll_set, sock, protocol, {})
    except BaseException:
        sock.close()
        raise
    protocol.connection_made(transport)
    return transport
