"""Requests for mirrors: sent on connections of their own, and whatever comes back is dropped."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from functools import cache
from typing import cast

from emulab.errors import EmulabError
from emulab.servers.l7.engine.aside import MirroredRequest
from emulab.servers.l7.engine.snapshot import split_address
from emulab.servers.l7.shell.opening import open_socket
from emulab.servers.stub import ResolverConfig, resolve

AT_ONCE = 256
"""Requests that are under way; more aren't sent, as a mirror that hangs holds nobody up."""
PATIENCE = 60.0
"""Seconds for which an answer may take (`proxy_read_timeout`)."""


class Mirrors:
    """The mirrored requests of one proxy."""

    def __init__(self) -> None:
        self.resolver = ResolverConfig((), (), 1, {})
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, request: MirroredRequest) -> None:
        """Sends a request, unless there are too many."""
        if len(self._tasks) < AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._send(request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, request: MirroredRequest) -> None:
        sink = _Sink(request.data)
        with suppress(OSError, EmulabError, TimeoutError, ValueError):
            async with asyncio.timeout(PATIENCE):
                host, port = split_address(request.address)
                found = await resolve(host, self.resolver, open_socket)
                secure = _tls() if request.secure else None
                name = host if request.secure else None
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: sink, found, port, ssl=secure, server_hostname=name)
                await sink.ended.wait()
        if sink.transport is not None:
            sink.transport.abort()

    def close(self) -> None:
        """Ends all of them."""
        for task in self._tasks:
            task.cancel()


class _Sink(asyncio.Protocol):
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.ended = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


@cache
def _tls() -> ssl.SSLContext:
    """nginx looks at no certificate of an upstream's, unless it is told to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
