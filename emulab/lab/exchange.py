"""One exchange of HTTP over a connection opened in a place: the asyncio shell around `servers.wire.http1.client`.

A response counts from the moment it is there, even where the connection is reset right behind it: a server that has
refused a body needn't read it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from ssl import SSLContext

from emulab.errors import PeerError
from emulab.servers.wire.http1.client import CutShort, ResponseReader, Unanswered


async def exchange(
    sock: socket.socket,
    request: bytes,
    response: ResponseReader,
    secured: SSLContext | None = None,
    name: str = "",
    enough: int = sys.maxsize,
    mark: Callable[[str], None] = lambda _: None,
) -> bytes:
    """Sends a request and reads its response, which ends at `enough` bytes of its body at the latest; the body.

    With a context it goes over TLS, to `name`. The socket is closed after. Raises OSError where the connection fails or
    ends too early, BadMessage where what comes is no HTTP. Whoever waits says for how long.
    `mark` is told of what has come: `connected`, TLS included, and `answered` with the first bytes.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, asking = await loop.create_connection(
            lambda: _Asking(response, enough, mark),
            sock=sock,
            ssl=secured,
            server_hostname=name if secured else None,
        )
    except BaseException:
        sock.close()
        raise
    mark("connected")
    try:
        transport.write(request)
        await asking.done
    except (Unanswered, CutShort) as error:
        raise ConnectionAbortedError(str(error)) from None
    finally:
        # What wasn't sent yet, nobody wants any more.
        transport.abort() if transport.get_write_buffer_size() else transport.close()
    return bytes(asking.body)


class _Asking(asyncio.Protocol):
    def __init__(self, response: ResponseReader, enough: int, mark: Callable[[str], None]) -> None:
        self._response = response
        self._enough = enough
        self._mark = mark
        self.body = bytearray()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if self.done.done():
            return
        self._mark("answered")
        try:
            self.body += self._response.feed(data)
        except PeerError as error:
            self.done.set_exception(error)
            return
        if self._response.complete or len(self.body) >= self._enough:
            self.done.set_result(None)

    def eof_received(self) -> None:
        self.data_received(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self.done.done():
            self.done.set_exception(exc)
        self.data_received(b"")
