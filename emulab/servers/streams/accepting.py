"""A listening socket of TCP, from which clients are taken as they come."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from _socket import IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY
from _socket import socket as Socket
from collections.abc import Callable
from typing import Any

_PATIENCE = 3  # wake-ups after which twice as many clients are expected
_DOUBLINGS = 5  # of one client; then others are to have their turn
_REST = 0.1  # seconds without accepting after there were no descriptors, or no memory, for a client
_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

TakeClient = Callable[[Socket, Any], None]
"""Takes a client's socket, which doesn't block, and its address as sockets have it."""


class Acceptor:
    """Accepts clients whenever somebody says that there are some."""

    def __init__(
        self,
        sock: socket.socket,
        backlog: int,
        watch: Callable[[Callable[[], None]], None],
        unwatch: Callable[[], None],
        accepted: TakeClient,
    ) -> None:
        """Listens at once. `watch` has what it is given called when the socket is readable, `unwatch` ends that."""
        self._sock = sock
        self._family = sock.family
        self._watch, self._unwatch = watch, unwatch
        self._accepted = accepted
        self._rest: asyncio.TimerHandle | None = None
        self._filled = 0  # wake-ups in a row in which there were as many clients as were asked for
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # accepted sockets have it from here
        sock.setblocking(False)
        sock.listen(backlog)
        watch(self._accept)

    def close(self) -> None:
        """Accepts no more. Those who wait in the kernel's queue are reset by it."""
        if self._rest is not None:
            self._rest.cancel()
        self._unwatch()
        self._sock.close()

    def _accept(self) -> None:
        # To learn that there is nobody costs an exception, and who waits still is told of in the next turn.
        for _ in range(1 << (self._filled // _PATIENCE)):
            if self._sock.fileno() < 0:  # closed by what has become of the client before
                return
            try:
                # What accept() wraps, without the object of class socket.socket around it: a tenth of a session's time.
                descriptor, peer = self._sock._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                self._filled = 0
                return
            except OSError as error:
                if error.errno in _SCARCE:
                    self._take_a_rest(error)
                    return
                continue  # a client that has left already (accept(2), "Error handling")
            os.set_blocking(descriptor, False)
            self._accepted(Socket(self._family, SOCK_STREAM, 0, descriptor), peer)
        self._filled = min(self._filled + 1, _PATIENCE * _DOUBLINGS)

    def _take_a_rest(self, error: OSError) -> None:
        """The queue would be reported again at once, and nothing else be done."""
        where = "/".join(map(str, self._sock.getsockname()[:2]))
        print(f"tcp/{where}: accept: {error.strerror}", file=sys.stderr, flush=True)
        self._unwatch()
        self._rest = asyncio.get_running_loop().call_later(_REST, self._resume)

    def _resume(self) -> None:
        self._rest = None
        self._watch(self._accept)
