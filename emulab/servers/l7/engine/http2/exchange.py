"""One request over HTTP/2 and its answer. A machine's part: see `engine.exchange`.

An exchange writes HTTP/1, whoever its client is; the stream makes frames of it. Only trailers have no place in that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulab.servers.l7.engine.exchange import Exchange

if TYPE_CHECKING:
    from emulab.servers.l7.engine.http2.stream import Http2Stream
    from emulab.servers.l7.messages.request import RequestHead


class StreamExchange(Exchange):
    """One request of a stream."""

    __slots__ = ("_stream",)

    def __init__(self, client: Http2Stream, head: RequestHead, now: float) -> None:
        super().__init__(client, head, now)
        self._stream = client
        self._reused = (
            False  # a stream may be reset in the reading that it came in, before a server was looked for
        )

    def _complete(self, now: float) -> None:
        self._stream.trailers = self._reader.trailers
        super()._complete(now)
