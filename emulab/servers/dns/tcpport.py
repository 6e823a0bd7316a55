"""The listening TCP sockets: streams of messages with two octets of length before each.

Connections may have several queries under way; answers are sent as they come (RFC 7766 section 6.2.1.1).

Nobody's queries keep others waiting:

* A connection has one query answered in a turn of the loop, or several for which finished answers are there.
* It may have `_PIPELINED` queries under way and `_BUFFERED` octets read ahead; then it isn't read any more.
* A client may have `_OF_CLIENT` connections, all clients `_CONNECTIONS`. Another one takes the place of that which
  has been silent for longest and waits for nothing; where there is none it is closed (RFC 7766 section 6.2.2).
* A connection on which no whole message comes for the idle time is closed, however many octets do.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from emulab.servers.dns.reporter import Host
from emulab.servers.dns.responder import Responder

_PIPELINED = 100  # queries of one connection that wait for their answers
_PREPARED = 32  # a turn, of which at most one takes work
_BUFFERED = 1 << 16
_OF_CLIENT, _CONNECTIONS = 100, 2000


class TcpPort:
    """One listening TCP socket and its connections; owns them."""

    def __init__(self, responder: Responder, idle: float) -> None:
        self._responder = responder
        self.idle = idle
        self.streams: set[TcpConnection] = set()
        self._clients: dict[str, set[TcpConnection]] = {}
        self._server: asyncio.Server | None = None

    async def open(self, sock: socket.socket) -> None:
        """Begins to accept connections; a silent one is closed after `idle` seconds."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: TcpConnection(self, self._responder), sock=sock)

    def enter(self, stream: TcpConnection) -> None:
        """Takes in a connection; where there is no room for it, a silent one, or itself, is closed."""
        streams = self._clients.setdefault(stream.client, set())
        if len(streams) >= _OF_CLIENT:
            _make_room(streams, stream)
        elif len(self.streams) >= _CONNECTIONS:
            _make_room(self.streams, stream)
        self.streams.add(stream)
        streams.add(stream)

    def leave(self, stream: TcpConnection) -> None:
        """Forgets a connection that has been lost or is about to be."""
        self.streams.discard(stream)
        streams = self._clients.get(stream.client, set())
        streams.discard(stream)
        if not streams:
            self._clients.pop(stream.client, None)

    def stop(self) -> None:
        """Takes no more connections."""
        if self._server:
            self._server.close()
            self._server = None

    def close(self) -> None:
        """Closes the listener and, after what was written is sent, its connections."""
        self.stop()
        for stream in list(self.streams):
            stream.close()


def _make_room(streams: set[TcpConnection], newest: TcpConnection) -> None:
    idle = [stream for stream in streams if stream.idle]
    min(idle, key=lambda stream: stream.heard, default=newest).end()


class TcpConnection(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, port: TcpPort, responder: Responder) -> None:
        self._port = port
        self._responder = responder
        self._buffer = bytearray()
        self._waiting = 0
        self._ended = self._full = False
        self._turn: asyncio.Handle | None = None

    @property
    def idle(self) -> bool:
        """Whether no query of the connection is under way."""
        return not (self._waiting or self._turn or self._full)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._host: Host = transport.get_extra_info("peername") or ("", 0)
        self.client: str = self._host[0]
        self._loop = asyncio.get_running_loop()
        self.heard = self._loop.time()  # when the last whole message was read
        self._timer = self._loop.call_later(self._port.idle, self._watch)
        self._port.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        if self._turn:
            self._turn.cancel()
        self._port.leave(self)

    def close(self) -> None:
        """Closes the connection once what was written is sent."""
        self._transport.close()

    def end(self) -> None:
        """Gives up the connection's place, and closes it."""
        self._port.leave(self)
        self.close()

    def _watch(self) -> None:
        """Ends a connection over which no message came for the idle time and nothing is under way."""
        left = self.heard + self._port.idle - self._loop.time()
        if left <= 0 and not self._waiting:
            self._transport.abort()  # also when the client never reads what was written
        else:
            self._timer = self._loop.call_later(max(left, 0.01), self._watch)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._serve()

    def eof_received(self) -> bool:
        self._ended = True
        return self._waiting > 0 or self._whole()  # a client that has said all may still wait for answers

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._serve()

    def _whole(self) -> bool:
        """Whether a whole message is in the buffer."""
        buffer = self._buffer
        return len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big")

    def _serve(self) -> None:
        """Has a turn answer what is there, unless one is to come or the client is ahead of itself."""
        if not self._turn:
            self._answer()

    def _answer(self) -> None:
        """Answers what one turn may; the next one follows when there is more."""
        self._turn = None
        if self._transport.is_closing():
            return
        buffer, responder = self._buffer, self._responder
        at, worked = 0, responder.worked
        for _ in range(_PREPARED):
            start = at + 2
            end = start + int.from_bytes(buffer[at:start], "big")
            if len(buffer) < end or self._full or self._waiting >= _PIPELINED or worked != responder.worked:
                break
            at = end
            reply = responder.answer(bytes(buffer[start:end]), self._host, True, self._late)
            if reply is None:
                self._waiting += 1
            elif not reply:
                self._transport.abort()  # not DNS
                return
            else:
                self._write(reply)
        if at:
            self.heard = self._loop.time()
            del buffer[:at]
        self._go_on()

    def _go_on(self) -> None:
        """Plans the next turn, and reads on while there is room."""
        blocked = self._full or self._waiting >= _PIPELINED
        if not blocked and self._whole():
            self._turn = self._loop.call_soon(self._answer)
        if blocked or len(self._buffer) > _BUFFERED + 2:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
        if self._ended and not self._waiting and not self._whole():
            self._transport.close()

    def _late(self, reply: bytes) -> None:
        self._waiting -= 1
        if self._transport.is_closing():
            return
        self._write(reply)
        self._serve()

    def _write(self, reply: bytes) -> None:
        self._transport.write(len(reply).to_bytes(2, "big") + reply)
