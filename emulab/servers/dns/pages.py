"""The pages beside DNS: metrics, and that the server lives and is ready. HTTP/1, an answer a connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import cast

PageText = Callable[[], str]

_LARGEST = 8192
_TIME = 10.0  # seconds for a whole request
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class PagesPort:
    """One listening socket with pages by their paths; owns it."""

    def __init__(self, pages: Mapping[str, PageText]) -> None:
        self.pages = pages
        self._server: asyncio.Server | None = None
        self.open_ones: set[_Reader] = set()

    async def open(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Reader(self), sock=sock)

    def stop(self) -> None:
        """Takes no more connections."""
        if self._server:
            self._server.close()
            self._server = None

    def close(self) -> None:
        """Closes the listener and its connections."""
        self.stop()
        for one in list(self.open_ones):
            one.end()

    def answer(self, request: bytes) -> bytes:
        """The whole answer to a request whose head is there."""
        words = request.split(b"\r\n", 1)[0].split()
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _whole("400 Bad Request", "")
        method, path = words[0], words[1].split(b"?", 1)[0].decode(errors="replace")
        if method not in (b"GET", b"HEAD"):
            return _whole("405 Method Not Allowed", "Method Not Allowed\n")
        page = self.pages.get(path)
        if page is None:
            return _whole("404 Not Found", "404 page not found\n")
        answer = _whole("200 OK", page())
        return answer if method == b"GET" else answer[: answer.index(b"\r\n\r\n") + 4]


class _Reader(asyncio.Protocol):
    def __init__(self, port: PagesPort) -> None:
        self._port = port
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(_TIME, self._transport.abort)
        self._port.open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._port.open_ones.discard(self)

    def end(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._transport.write(self._port.answer(self._head))
            self._transport.close()
        elif len(self._head) > _LARGEST:
            self._transport.abort()


def _whole(status: str, text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
