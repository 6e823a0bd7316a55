"""A listening socket of TCP, whose clients become sessions."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from _socket import IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY
from _socket import socket as Socket

from emulab.servers.l4.frontend import Frontend
from emulab.servers.l4.pump import READABLE
from emulab.servers.l4.tcp import Around, Session

_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
_BURST = 32  # clients that are accepted before others have their turn
_REST = 0.1  # seconds without accepting after there were no descriptors, or no memory, for a client
_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts the clients of a frontend."""

    def __init__(self, sock: socket.socket, frontend: Frontend, around: Around) -> None:
        self._sock = sock
        self._family = sock.family
        self._frontend = frontend
        self._around = around
        self._rest: asyncio.TimerHandle | None = None
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # accepted sockets have it from here
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        around.pump.watch(sock, READABLE, self._accept)

    def close(self) -> None:
        """Accepts no more. Those who wait in the kernel's queue are reset by it."""
        if self._rest is not None:
            self._rest.cancel()
        self._around.pump.unwatch(self._sock)
        self._sock.close()

    def _accept(self) -> None:
        for _ in range(_BURST):
            try:
                # What accept() wraps, without the object of class socket.socket around it: a tenth of a session's time.
                descriptor, peer = self._sock._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _SCARCE:
                    self._take_a_rest(error)
                    return
                continue  # a client that has left already (accept(2), "Error handling")
            os.set_blocking(descriptor, False)
            client = Socket(self._family, SOCK_STREAM, 0, descriptor)
            Session(self._frontend, self._around, client, peer).accepted()

    def _take_a_rest(self, error: OSError) -> None:
        """The queue would be reported again at once, and nothing else be done."""
        print(f"{self._frontend.key}: accept: {error.strerror}", file=sys.stderr, flush=True)
        self._around.pump.unwatch(self._sock)
        self._rest = self._around.loop.call_later(_REST, self._resume)

    def _resume(self) -> None:
        self._rest = None
        self._around.pump.watch(self._sock, READABLE, self._accept)
