"""Listeners at which the PROXY protocol is spoken: its header is read before anything else is, TLS included.

Nothing but the header is taken from the socket, so that whoever speaks after it (TLS, HTTP) has all of its own. Who
sends anything else, or nothing for too long, is closed.
"""

from __future__ import annotations

import asyncio
import socket
from _socket import socket as Socket
from collections.abc import Callable
from typing import Any, cast

from emulab.errors import PeerError
from emulab.servers.streams.epollset import EpollSet
from emulab.servers.streams.handshakes import Handshakes
from emulab.servers.streams.listening import accept, begin_or_close
from emulab.servers.streams.plain import StreamProtocol
from emulab.servers.wire.proxyprotocol import Proxied, ProxyHeaderReader

_PEEK = 4096 + 16

ClosedEarly = Callable[[socket.socket, str], None]
"""Who hears of a connection that is closed, and why."""


class ProxiedListener:
    """A listening socket. Who has come before it was closed may still send a header, until `forget`."""

    def __init__(
        self,
        streams: EpollSet,
        sock: socket.socket,
        backlog: int,
        connection: Callable[[Proxied | None], StreamProtocol],
        secure: Handshakes | None,
        seconds: Callable[[], float],
        refused: ClosedEarly,
        optional: Callable[[], bool],
    ) -> None:
        """`seconds`: how long a header may take. `optional`: who begins otherwise is who it seems to be."""
        self._streams = streams
        self._connection = connection
        self._secure = secure
        self._seconds = seconds
        self._refused = refused
        self._optional = optional
        self._reading: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._acceptor = accept(streams, sock, backlog, self._accepted)

    def close(self) -> None:
        """Accepts nobody any more."""
        self._acceptor.close()

    def forget(self) -> None:
        """Ends who hasn't sent a header yet."""
        for task in list(self._reading):
            task.cancel()

    def _accepted(self, client: Socket, _: Any) -> None:
        task = self._loop.create_task(self._begin(cast(socket.socket, client)))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _begin(self, client: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._seconds()):
                proxied = await self._header(client)
        except (PeerError, OSError) as error:  # TimeoutError is one
            self._refused(client, str(error) or "no PROXY header came in time")
            client.close()
        except asyncio.CancelledError:
            client.close()
            raise
        else:
            begin_or_close(self._streams, client, self._connection(proxied), self._secure)

    async def _header(self, client: socket.socket) -> Proxied | None:
        reader = ProxyHeaderReader()
        while not reader.done:
            await self._readable(client)
            try:
                peeked = client.recv(_PEEK, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            if not peeked:
                raise PeerError("the connection ended before a PROXY header")
            if self._optional() and not reader.begins(peeked):
                return None
            client.recv(reader.feed(peeked))
        return reader.proxied

    async def _readable(self, client: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(client.fileno(), _settle, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(client.fileno())


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
