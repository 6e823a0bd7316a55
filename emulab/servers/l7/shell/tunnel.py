"""After a 101: bytes both ways, whatever they mean, with backpressure and half-close.

Each direction ends by itself: the end of stream on one side is passed to the other, which may go on
talking. Over TLS the end of one direction ends both, as its transports have no half-close. As in nginx a
tunnel on which nothing moves for the read timeout is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from emulab.servers.l7.shell.context import Context
from emulab.servers.streams.secure import AnyTransport


class TunnelEnd(asyncio.Protocol):
    """One of the two connections of a tunnel."""

    __slots__ = ("_tunnel", "ended", "lost", "peer", "transport")

    peer: TunnelEnd

    def __init__(self, tunnel: Tunnel, transport: AnyTransport) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.ended = False  # this side has sent its end of stream
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self._tunnel.touch()
        self.peer.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        self._tunnel.touch()
        if self.peer.lost or self.peer.ended or not self.peer.transport.can_write_eof():
            self.peer.transport.close()
            return False
        self.peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if not self.peer.lost:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.peer.lost:
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.peer.transport.close()
        self._tunnel.end_lost()


class Tunnel:
    """A pair of connections; takes over both from the protocols that they had."""

    __slots__ = ("_context", "_on_end", "_timeout", "client", "deadline", "upstream")

    def __init__(
        self,
        context: Context,
        client: AnyTransport,
        upstream: AnyTransport,
        timeout: float,
        on_end: Callable[[], None],
    ) -> None:
        """`timeout` in seconds; `on_end` is called once, when both connections are gone."""
        self._context = context
        self._timeout = timeout
        self._on_end = on_end
        self.client = TunnelEnd(self, client)
        self.upstream = TunnelEnd(self, upstream)
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self.deadline = 0.0
        self.touch()
        client.set_protocol(self.client)
        upstream.set_protocol(self.upstream)
        context.tunnels.add(self)

    def touch(self) -> None:
        """Something moved."""
        self.deadline = self._context.clock() + self._timeout

    def expire(self, now: float) -> None:
        """Called when the deadline has passed."""
        self.abort()

    def abort(self) -> None:
        """Ends both connections at once."""
        self.client.transport.abort()
        self.upstream.transport.abort()

    def end_lost(self) -> None:
        """One of the two connections is gone."""
        if self.client.lost and self.upstream.lost:
            self._context.tunnels.discard(self)
            self._context.left()
            self._on_end()
