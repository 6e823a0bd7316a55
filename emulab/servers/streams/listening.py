"""Listening sockets, whose connections are transports of ours."""

from __future__ import annotations

import socket
import sys
from _socket import socket as Socket
from collections.abc import Callable, Mapping
from typing import Any, cast

from emulab.servers.streams.accepting import Acceptor, TakeClient
from emulab.servers.streams.epollset import READABLE, EpollSet
from emulab.servers.streams.handshakes import Handshakes
from emulab.servers.streams.plain import StreamProtocol, StreamTransport
from emulab.servers.streams.secure import SecureTransport

_ANY = frozenset({"0.0.0.0", "::"})
_NOTHING: Mapping[str, Any] = {}


def listen(
    epoll_set: EpollSet,
    sock: socket.socket,
    backlog: int,
    protocol: Callable[[], StreamProtocol],
    secure: Handshakes | None = None,
) -> Acceptor:
    """Accepts connections at a socket, which is the acceptor's from now on, each for a protocol of its own."""
    name = sock.getsockname()
    known = {} if name[0] in _ANY else {"sockname": name}

    def accepted(client: Socket, peer: Any) -> None:
        begin_or_close(
            epoll_set, cast(socket.socket, client), protocol(), secure, {"peername": peer, **known}
        )

    return accept(epoll_set, sock, backlog, accepted)


def accept(epoll_set: EpollSet, sock: socket.socket, backlog: int, accepted: TakeClient) -> Acceptor:
    """Has `accepted` take whoever connects to a socket, which is the acceptor's from now on."""
    fd = sock.fileno()
    return Acceptor(
        sock,
        backlog,
        lambda turn: epoll_set.watch(fd, READABLE, lambda _: turn()),
        lambda: epoll_set.unwatch(fd),
        accepted,
    )


def begin_or_close(
    epoll_set: EpollSet,
    sock: socket.socket,
    protocol: StreamProtocol,
    secure: Handshakes | None = None,
    info: Mapping[str, Any] = _NOTHING,
) -> None:
    """As `begin`; a socket that can't be served is closed, and the log says why."""
    try:
        begin(epoll_set, sock, protocol, secure, info)
    except OSError as error:  # fs.epoll.max_user_watches
        print(f"accept: {error.strerror}", file=sys.stderr, flush=True)
        sock.close()


def begin(
    epoll_set: EpollSet,
    sock: socket.socket,
    protocol: StreamProtocol,
    secure: Handshakes | None = None,
    info: Mapping[str, Any] = _NOTHING,
) -> StreamTransport:
    """Has a protocol serve an accepted socket, over TLS where there is a context for it; the transport below TLS."""
    if secure is None:
        transport = StreamTransport(epoll_set, sock, protocol, info)
        protocol.connection_made(transport)
    else:
        layer = SecureTransport(protocol, secure)
        transport = StreamTransport(epoll_set, sock, layer, info)
        layer.connection_made(transport)
    transport.read_now()  # who connects to ask has mostly asked by now
    return transport
