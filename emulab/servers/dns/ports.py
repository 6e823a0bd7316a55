"""The listening sockets: datagrams, and streams of messages with two octets of length before each.

A UDP port reads its socket itself, several datagrams a wake-up, and answers on the same socket. TCP
connections may have several queries under way; answers are sent as they come (RFC 7766 section 6.2.1.1).
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from emulab.servers.dns.reporter import Host
from emulab.servers.dns.responder import Responder

_DATAGRAMS = 64  # a wake-up; then others have their turn
_LARGEST_QUERY = 4096
_PIPELINED = 100  # queries of one connection that wait for their answers


class UdpPort:
    """One bound UDP socket; owns it."""

    def __init__(self, sock: socket.socket, responder: Responder) -> None:
        self._sock = sock
        self._responder = responder
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock, self._readable)

    def _readable(self) -> None:
        receive, answer, send = self._sock.recvfrom, self._responder.answer, self._sock.sendto
        for _ in range(_DATAGRAMS):
            try:
                packet, host = receive(_LARGEST_QUERY)
            except OSError:
                return  # mostly: nothing more there
            reply = answer(packet, host, False, lambda late, host=host: self._send(late, host))  # type: ignore[misc]
            if reply:
                try:
                    send(reply, host)
                except OSError:
                    continue  # no buffer or no way back; the client asks again

    def _send(self, reply: bytes, host: Host) -> None:
        try:
            self._sock.sendto(reply, host)
        except OSError:
            return  # as above, or the port was closed meanwhile

    def stop(self) -> None:
        """Takes no more queries; those under way can still be answered."""
        asyncio.get_running_loop().remove_reader(self._sock)

    def close(self) -> None:
        """Closes the socket."""
        if self._sock.fileno() >= 0:
            self.stop()
            self._sock.close()


class TcpPort:
    """One listening TCP socket and its connections; owns them."""

    def __init__(self, responder: Responder, idle: float) -> None:
        self._responder = responder
        self.idle = idle
        self.streams: set[Stream] = set()
        self._server: asyncio.Server | None = None

    async def open(self, sock: socket.socket) -> None:
        """Begins to accept connections; a silent one is closed after `idle` seconds."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Stream(self, self._responder), sock=sock)

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


class Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, port: TcpPort, responder: Responder) -> None:
        self._port = port
        self._responder = responder
        self._buffer = bytearray()
        self._waiting = 0
        self._ended = self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._host: Host = transport.get_extra_info("peername") or ("", 0)
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(self._port.idle, self._watch)
        self._port.streams.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._port.streams.discard(self)

    def close(self) -> None:
        """Closes the connection once what was written is sent."""
        self._transport.close()

    def _watch(self) -> None:
        """Ends a connection over which nothing came for the idle time and nothing is under way."""
        left = self._heard + self._port.idle - self._loop.time()
        if left <= 0 and not self._waiting:
            self._transport.abort()  # also when the client never reads what was written
        else:
            self._timer = self._loop.call_later(max(left, 0.01), self._watch)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._buffer += data
        self._serve()

    def eof_received(self) -> bool:
        self._ended = True
        return self._waiting > 0  # a client that has said all may still wait for answers

    def pause_writing(self) -> None:
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        self._serve()

    def _serve(self) -> None:
        """Answers the whole messages in the buffer, unless the client is ahead of itself."""
        buffer = self._buffer
        if self._transport.is_closing():
            return
        while len(buffer) >= 2 and not self._full and self._waiting < _PIPELINED:
            end = 2 + int.from_bytes(buffer[:2], "big")
            if len(buffer) < end:
                break
            packet = bytes(buffer[2:end])
            del buffer[:end]
            reply = self._responder.answer(packet, self._host, True, self._late)
            if reply is None:
                self._waiting += 1
            elif not reply:
                self._transport.abort()  # not DNS
                return
            else:
                self._write(reply)
        if self._full or self._waiting >= _PIPELINED:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _late(self, reply: bytes) -> None:
        self._waiting -= 1
        if self._transport.is_closing():
            return
        self._write(reply)
        self._serve()
        if self._ended and not self._waiting:
            self._transport.close()

    def _write(self, reply: bytes) -> None:
        self._transport.write(len(reply).to_bytes(2, "big") + reply)
