"""Connections to servers over HTTP/2, for requests that are written, and answers that are read, as of HTTP/1."""

from __future__ import annotations

from h2.exceptions import ProtocolError

from emulab.servers.l7.engine.ways import UpstreamWay
from emulab.servers.l7.messages.http2response import Http2Response
from emulab.servers.l7.shell.upstream import Pool, UpstreamConnection, Where
from emulab.servers.streams.secure import AnyTransport


class Http2UpstreamConnection(UpstreamConnection):
    """One connection to one server. What waits for the server's window counts as what waits for its socket.

    A server of HTTP/2 needn't wait for a request with what it has to say of itself: that is kept for the first owner.
    """

    __slots__ = ("_blocked", "_early", "_filled", "_frames", "_fresh")

    def __init__(self, pool: Pool, where: Where) -> None:
        super().__init__(pool, where)
        secure = isinstance(where, tuple) and isinstance(where[1], UpstreamWay) and where[1].tls is not None
        self.reader = self._frames = Http2Response("https" if secure else "http")
        self._blocked = self._filled = False
        self._fresh, self._early = True, b""

    def connection_made(self, transport: AnyTransport) -> None:
        super().connection_made(transport)
        self.write = self._write

    def _write(self, data: bytes) -> None:
        try:
            self._frames.write(data)
        except ProtocolError:  # the server takes no request, or no more of it
            self.transport.abort()
        else:
            self._go_on()
        if self._fresh:
            self._fresh = False
            if self._early:
                self.data_received(self._early)

    def data_received(self, data: bytes) -> None:
        if self._fresh:
            self._early += data
            return
        super().data_received(data)
        if not self.transport.is_closing():
            self._go_on()

    def _go_on(self) -> None:
        """Sends what there is to send, and tells the owner whether more has a place."""
        if data := self._frames.output():
            self.transport.write(data)
        blocked = self._frames.blocked
        if blocked != self._blocked:
            self._blocked = blocked
            self._tell()

    def pause_writing(self) -> None:
        self._filled = True
        self._tell()

    def resume_writing(self) -> None:
        self._filled = False
        self._tell()

    def _tell(self) -> None:
        if self.owner is not None:
            self.owner.upstream_filled(self._filled or self._blocked)
