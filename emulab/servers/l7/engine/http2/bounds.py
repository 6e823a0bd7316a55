"""What one client may ask of us over HTTP/2, counted as nginx bounds it (`ngx_http_v2.c`):

* Streams at once; one more is refused, and so is each beyond twice as many that come in one reading (rapid reset,
  CVE-2023-44487). Who is refused too often has the connection closed.
* Requests of a connection, after which it ends in good order.
* The size of a head and of each of its fields; how many frames it comes in is the library's limit.
* PRIORITY frames, which nothing follows; and bytes that are neither heads nor bodies (PING, SETTINGS, resets …).
* Who doesn't read what we answer isn't read from (`OWED`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from emulab.servers.wire.http2.fields import FieldList, size

if TYPE_CHECKING:
    from emulab.servers.l7.config.whole import Options

OWED = 1 << 16
"""Bytes for a client that reads nothing, besides bodies, beyond which we read nothing, too."""
FLOOD = 1 << 18
"""An eighth of all bytes may be above those of heads and bodies by so much; nginx, which is quicker, takes 1 MiB."""
_LEAST = 100  # refused streams and PRIORITY frames that any client may have


class Bounds:
    """How much a client has asked of one connection."""

    def __init__(self, streams: int) -> None:
        self.paid = 0  # bytes of heads and bodies, both ways
        self.moved = 0  # all bytes
        self.owed = 0  # those that wait for a client that takes none
        self._requests = 0
        self._refused = 0
        self._fresh = 0  # requests of this reading
        self._priorities = max(streams, _LEAST)

    @property
    def flooded(self) -> bool:
        """Whether too many bytes are neither heads nor bodies."""
        return self.moved // 8 > self.paid + FLOOD

    def begin_reading(self) -> None:
        """Something has come, of which nothing is counted yet."""
        self._fresh = 0

    def opens(self, streams: int, options: Options) -> ErrorCodes | None:
        """Another request beside so many streams: REFUSED_STREAM for one too many, NO_ERROR for the last of these."""
        self._fresh += 1
        if streams < options.http2_streams and self._fresh <= 2 * options.http2_streams:
            return None
        self._refused += 1
        too_often = self._refused > max(options.http2_streams, _LEAST)
        return ErrorCodes.NO_ERROR if too_often else ErrorCodes.REFUSED_STREAM

    def pays(self, fields: FieldList, options: Options) -> bool:
        """Whether a head isn't too large, which counts then."""
        total, most = size(fields), options.header_buffer_max
        if total > options.header_buffers * most:
            return False
        if any(len(name) > most or len(value) > most for name, value in fields):
            return False
        self.paid += total
        self._priorities += options.http2_streams
        self._requests += 1
        return True

    def is_last(self, options: Options) -> bool:
        """Whether the connection takes no request after this one."""
        return self._requests >= options.keepalive_requests

    def prefers(self) -> None:
        """A request comes with a PRIORITY of its own."""
        self._priorities += 1

    def prefers_too_often(self) -> bool:
        """A PRIORITY frame has come: whether it is one too many."""
        self._priorities -= 1
        return self._priorities <= 0
