"""One request over HTTP/2 and its answer: an exchange that writes to a stream.

A machine's part: see `engine.exchange`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulab.servers.l7.engine.exchange import Exchange
from emulab.servers.wire.http1.framing import framing_line

if TYPE_CHECKING:
    from emulab.servers.l7.engine.http2.stream import Http2Stream
    from emulab.servers.l7.messages.request import RequestHead


class StreamExchange(Exchange):
    """One request of a stream."""

    __slots__ = ()

    _client: Http2Stream

    def __init__(self, client: Http2Stream, head: RequestHead, now: float) -> None:
        super().__init__(client, head, now)
        self._reused = (
            False  # a stream may be reset in the reading that it came in, before a server was looked for
        )

    def _pass_on(self, now: float) -> bytes:
        """See `Answered`: here nothing is left to be written, as the stream has it."""
        reader, stream = self._reader, self._client
        pieces, reader.pieces = reader.pieces, []
        if not self._head_sent:
            length = framing_line(reader.framing) if reader.framing >= 0 else b""
            lines = [self._around.date(), *reader.lines, length, *stream.extra.splitlines(keepends=True)]
            if self._asked is not None:
                lines = self._filtered(lines)
            self._head_sent, self._try_headed = True, now
            self._head_size = stream.begin(reader.status, lines)
            self._sent += self._head_size
        size = sum(map(len, pieces))
        self._size += size
        self._sent += size
        stream.write(pieces, reader.complete, reader.trailers, now)
        if reader.complete:
            self._complete(now)
        elif pieces:
            stream.touch(now)
        return b""
