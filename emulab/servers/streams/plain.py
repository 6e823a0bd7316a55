"""A connection over TCP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from math import inf
from time import monotonic
from typing import Any, Protocol

from emulab.servers.streams.epollset import ENDED, GONE, READABLE, WRITABLE, EpollSet

HIGH, LOW = 64 << 10, 16 << 10
"""Octets that wait for the other side before the protocol is asked to write no more, and at which it may go on."""
_SMALL, _LARGE = 4 << 10, 256 << 10  # octets of a read
_UNWATCHED = 1 << 30  # not even for its end
_INCOMING = READABLE | ENDED


class StreamProtocol(Protocol):
    """Who hears of a connection: asyncio's protocols, and what has their methods."""

    def connection_made(self, transport: Any, /) -> None: ...
    def data_received(self, data: bytes, /) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None, /) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class StreamTransport:
    """One connected socket. `connection_made` is called before anything else can come.

    It has the methods of `asyncio.Transport` and isn't one: of a class of Python's, machine code would go the long way
    to each attribute.
    """

    __slots__ = (
        "_buffer",
        "_closing",
        "_ending",
        "_events",
        "_fd",
        "_full",
        "_info",
        "_protocol",
        "_reading",
        "_received",
        "_recv",
        "_send",
        "_set",
        "_size",
        "_sock",
        "taken",
    )

    def __init__(
        self, epoll_set: EpollSet, sock: socket.socket, protocol: StreamProtocol, info: Mapping[str, Any]
    ) -> None:
        """`info` is what is known of `get_extra_info`, so that the kernel isn't asked."""
        self._set = epoll_set
        self._sock = sock
        self._fd = sock.fileno()
        self._recv, self._send = sock.recv, sock.send
        self._info = info
        self._buffer = bytearray()
        self._size = _SMALL
        self._closing = self._ending = self._full = False
        self._reading = True
        self.taken = -inf  # when the kernel last took bytes that waited for the other side
        self.set_protocol(protocol)
        self._events = _INCOMING  # what is watched for
        epoll_set.watch(self._fd, _INCOMING, self._ready)

    # --- asyncio's interface ----------------------------------------------------------------------------------------

    def set_protocol(self, protocol: StreamProtocol) -> None:
        """Who hears of the connection from now on."""
        self._protocol = protocol
        self._received: Callable[[bytes], None] = protocol.data_received

    def get_protocol(self) -> StreamProtocol:
        """Who hears of the connection."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname` and `socket`, as of asyncio."""
        if name in self._info:
            return self._info[name]
        if name == "socket":
            return self._sock
        try:
            if name == "peername":
                return self._sock.getpeername()
            if name == "sockname":
                return self._sock.getsockname()
        except OSError:  # it is gone
            return default
        return default

    def is_closing(self) -> bool:
        """Whether nothing more is read."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether the protocol is told of what comes."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Leaves what comes with the kernel."""
        self._reading = False
        self._watch()

    def resume_reading(self) -> None:
        """Reads on."""
        self._reading = True
        self._watch()

    def get_write_buffer_size(self) -> int:
        """Octets that the kernel hasn't taken yet."""
        return len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends at once what the kernel takes, and the rest later."""
        if self._closing or not data:
            return
        if self._ending:
            raise RuntimeError("the end of the stream has been sent")
        sent = 0
        if not self._buffer:
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._over(error)
                return
            if sent == len(data):
                return
        self._buffer += memoryview(data)[sent:]
        self._watch()
        if len(self._buffer) > HIGH and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """As one."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """True: TCP ends each direction by itself."""
        return True

    def write_eof(self) -> None:
        """Sends FIN behind what was written."""
        if self._ending or self._closing:
            return
        self._ending = True
        if not self._buffer:
            self._shut()

    def close(self) -> None:
        """Reads no more, sends what is left, and closes."""
        if self._closing:
            return
        if self._buffer:
            self._closing = True
            self._watch()
        else:
            self._over(None)

    def abort(self) -> None:
        """Closes at once; what the kernel hasn't taken is forgotten."""
        self._over(None)

    def fail(self, error: Exception) -> None:
        """Closes at once for this reason, of which the protocol hears."""
        self._over(error)

    # --- what happens -----------------------------------------------------------------------------------------------

    def read_now(self) -> None:
        """Reads what may have come with the connection, without waiting to be told."""
        self._ready(READABLE)

    def _ready(self, events: int) -> None:
        """What the speed of a server depends on."""
        if events != READABLE:
            self._attend(events)
        if not self._events & READABLE:
            if self._fd >= 0:
                self._set.due[self._fd] = events  # for whoever reads on
            return
        size = self._size
        try:
            data = self._recv(size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._over(error)
            return
        try:
            if 0 < len(data) < size:
                self._received(data)
            else:
                self._take(data)
        except BaseException as error:
            self._fail(error)

    def _attend(self, events: int) -> None:
        """Sees to whatever isn't just more bytes."""
        try:
            if events & WRITABLE and self._buffer:
                self._flush()
        except BaseException as error:
            self._fail(error)
        if events & GONE and self._events == 0:  # it would be told of for ever; going on will find it out
            self._set.unwatch(self._fd)
            self._events = _UNWATCHED

    def _take(self, data: bytes) -> None:
        """A read that was full, or the end of the stream."""
        if data:
            self._size = min(4 * self._size, _LARGE)
            self._set.due[self._fd] = READABLE  # there may be more
            self._received(data)
        elif self._protocol.eof_received():
            self._reading = False
            self._watch()
        else:
            self.close()

    def _flush(self) -> None:
        buffer = self._buffer
        try:
            with memoryview(buffer) as view:
                sent = self._send(view)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._over(error)
            return
        del buffer[:sent]
        self.taken = monotonic()
        if not buffer:
            if self._closing:
                self._over(None)
                return
            if self._ending:
                self._shut()
            self._watch()
        if self._full and len(buffer) <= LOW and not self._closing:
            self._full = False
            self._protocol.resume_writing()

    def _watch(self) -> None:
        """Watches for what is wanted now."""
        if self._fd < 0:
            return
        events = (_INCOMING if self._reading and not self._closing else 0) | (WRITABLE if self._buffer else 0)
        if self._events == _UNWATCHED:
            if events:
                self._set.watch(self._fd, events, self._ready)
                self._events = events
        elif events != self._events:
            self._set.change(self._fd, events)
            self._events = events

    def _shut(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._over(error)

    def _over(self, error: Exception | None) -> None:
        """Closes the socket, of which the protocol hears in the loop's next turn."""
        if self._fd < 0:
            return
        self._closing = True
        self._set.unwatch(self._fd)
        self._events = _UNWATCHED
        self._fd = -1
        self._buffer.clear()
        try:
            self._sock.close()
        except OSError as late:  # close() tells of what went wrong before
            error = error or late
        self._set.loop.call_soon(self._tell_of_end, error)

    def _tell_of_end(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def _fail(self, error: BaseException) -> None:
        """The protocol failed: the end of one connection."""
        if not isinstance(error, Exception) or isinstance(error, MemoryError):
            raise error
        told = {"message": "a protocol has failed", "exception": error, "transport": self}
        self._set.loop.call_exception_handler(told)
        self._over(error)
