"""What the proxy answers by itself, at sockets of their own: the page of its health, say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from emulab.servers.wire.http1.requests import Request, RequestReader
from emulab.servers.wire.http1.writing import head_bytes

PLAIN = "text/plain; charset=utf-8"
_FAILED = "healthz check failed\n"  # of Kubernetes' healthz
_NOT_FOUND = "404 page not found\n"  # of Go's net/http

FoundPage = tuple[str, str] | None
"""Content type and text; None where there is no such page."""


class PageReader(asyncio.Protocol):
    """A connection of who reads `pages`: by path, at once or once they are awaited. One that is `failing` says that
    alone."""

    def __init__(
        self,
        pages: Callable[[str], FoundPage | Awaitable[FoundPage]],
        failing: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._pages = pages
        self._failing = failing
        self._reader = RequestReader()
        self._transport: asyncio.Transport
        self._waiting: asyncio.Future[None] | None = None  # for a page

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def _go_on(self) -> None:
        reader = self._reader
        while reader.requests and self._waiting is None and not self._transport.is_closing():
            request = reader.requests.popleft()
            page = self._pages(request.path)
            if isinstance(page, Awaitable):
                self._waiting = asyncio.ensure_future(self._answer_later(request, page))
            else:
                self._answer(request, page)
        if self._waiting is None and (reader.failure or reader.upgraded):
            self._transport.close()

    async def _answer_later(self, request: Request, page: Awaitable[FoundPage]) -> None:
        self._answer(request, await page)
        self._waiting = None
        self._go_on()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def _answer(self, request: Request, page: FoundPage) -> None:
        kind, text = page or (PLAIN, _NOT_FOUND)
        start = "HTTP/1.1 404 Not Found" if page is None else "HTTP/1.1 200 OK"
        if page is not None and self._failing(request.path):
            start, text = "HTTP/1.1 500 Internal Server Error", _FAILED
        body = text.encode()
        fields = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        if not request.keep_alive:
            fields.append(("Connection", "close"))
        self._transport.write(head_bytes(start, fields) + (b"" if request.method == "HEAD" else body))
        if not request.keep_alive:
            self._transport.close()
