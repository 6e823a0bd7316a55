"""UDP: each datagram goes back as it came, whole, from the address it was sent to; or as an image's program answers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from emulab.servers.base import Emit, socket_name
from emulab.servers.echo.answers import Identity
from emulab.servers.echo.images import DATAGRAMS

_BURST = 64  # datagrams to answer before other sockets get their turn
_MOST_WAITING = 10_000  # more than a socket's buffer has room for
_SO_BINDTOIFINDEX = 62  # asm-generic/socket.h, of Linux 5.1
_NOWHERE, _ANYWHERE = 0x7FFFFFFF, 0
"""The number of an interface: one that nobody has, and none at all."""
_buffer = bytearray(65536)  # one for all sockets: it is read and sent again before anyone else runs


class DatagramEcho:
    """One UDP socket. A datagram that cannot be sent back at once is lost, as UDP may."""

    __slots__ = (
        *("_answer", "_emit", "_local", "_loop", "_refuses", "_socket"),
        *("datagrams", "draining", "identity", "log"),
    )

    def __init__(self, sock: socket.socket, local: str, identity: Identity, emit: Emit) -> None:
        """`local` is the address for records: the socket may be bound to all of them."""
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._emit = emit
        self._local = local
        self._refuses = False
        self.log = ""
        self.draining = False
        self.become(identity)
        self.datagrams = 0
        sock.setblocking(False)
        # Not a datagram endpoint: asyncio's does not send empty datagrams before Python 3.13.
        self._loop.add_reader(sock, self._readable)

    def become(self, identity: Identity) -> None:
        """Stands in for somebody from now on."""
        self.identity = identity
        self._answer = DATAGRAMS.get(identity.played.says) if identity.played is not None else None

    def refuse(self) -> None:
        """Has the kernel answer "port unreachable", as where no program has the port.

        The socket keeps its port for later: it is bound to an interface that isn't there, so nothing finds it.
        """
        if self._refuses:
            return
        self._refuses = True
        self._loop.remove_reader(self._socket)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _NOWHERE)
        self._forget()

    fall_silent = refuse

    async def listen_again(self) -> None:
        """Ends the silence."""
        if not self._refuses:
            return
        self._socket.setsockopt(
            socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _ANYWHERE
        )  # for which CAP_NET_RAW is needed
        self._refuses = False
        self._loop.add_reader(self._socket, self._readable)

    def is_of(self, identity: Identity) -> bool:
        """Whether it is for the pod of this identity."""
        return (self.identity.namespace, self.identity.pod) == (identity.namespace, identity.pod)

    def _forget(self) -> None:
        """Reads what waits in the socket, which is lost with the program that would have read it."""
        for _ in range(_MOST_WAITING):
            try:
                self._socket.recv_into(_buffer)
            except OSError:
                return

    def _readable(self) -> None:
        for _ in range(_BURST):
            try:
                size, sender = self._socket.recvfrom_into(_buffer)
            except OSError:  # EAGAIN; or an ICMP error about an earlier answer, which concerns nobody
                return
            self.datagrams += 1
            if self._emit.wanted:
                self._tell(sender, size)
            answer: bytes | memoryview = memoryview(_buffer)[:size]
            if self._answer is not None and self.identity.played is not None:
                said = self._answer(bytes(_buffer[:size]), self.identity.played, socket_name(sender))
                if said is None:
                    continue
                answer = said
            try:
                self._socket.sendto(answer, sender)
            except OSError:
                continue

    def _tell(self, sender: Any, size: int) -> None:
        self._emit(
            {
                "event": "datagram",
                "namespace": self.identity.namespace,
                "pod": self.identity.pod,
                "client": socket_name(sender),
                "local": self._local,
                "size": size,
            }
        )

    def close(self) -> None:
        """Closes the socket; what waits in it is lost."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
