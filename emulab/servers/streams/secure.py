"""TLS over a connection: a protocol for the transport below, a transport for the protocol above."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol, cast

from emulab.servers.streams.handshakes import Handshakes
from emulab.servers.streams.plain import StreamProtocol, StreamTransport

_SIZE = 16 << 10  # octets of a read: those of a record


class _AnswersPlainly(Protocol):
    """A protocol that has a word for who speaks HTTP without TLS."""

    def spoken_plainly(self, transport: StreamTransport, data: bytes) -> None:
        """Takes over a connection over which this came instead of TLS."""


def _is_tls(begun: bytes) -> bool:
    """Whether it is a record of TLS, or an old hello, as nginx tells them from requests (ngx_http_ssl_handshake)."""
    return not begun or bool(begun[0] & 0x80) or begun[0] == 0x16


class SecureTransport:
    """The server's side of TLS. The protocol above hears of the connection once the handshake is done."""

    __slots__ = (
        "_above",
        "_begun",
        "_below",
        "_closing",
        "_done",
        "_ended",
        "_handshakes",
        "_incoming",
        "_outgoing",
        "_reading",
        "_tls",
    )

    _below: StreamTransport

    def __init__(self, protocol: StreamProtocol, handshakes: Handshakes) -> None:
        self._above = protocol
        self._handshakes = handshakes
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = handshakes.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._done = self._closing = self._ended = False
        self._begun = b""  # what came first
        self._reading = True

    # --- a protocol, for the transport below ------------------------------------------------------------------------

    def connection_made(self, transport: StreamTransport) -> None:
        self._below = transport
        self._handshakes.begin(transport)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            self._above.data_received(b"")  # the other side is still there
            return
        if not self._done:
            self._begun = self._begun or data
        self._incoming.write(data)
        if self._done:
            self._read()
        elif self._shake() and not self._read():
            self._flush()  # of who has asked by now, tickets go out with the answer: nobody waits for them

    def eof_received(self) -> bool:
        if self._done and not self._closing:
            self._above.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done:
            self._handshakes.end(self._below)
        self._closing = True
        if self._done:
            self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._done:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._done:
            self._above.resume_writing()

    def _shake(self) -> bool:
        """Goes on with the handshake; whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (ssl.SSLError, ssl.CertificateError):  # of which the other side hears by an alert
            if not _is_tls(self._begun) and hasattr(self._above, "spoken_plainly"):
                self._handshakes.end(self._below)
                self._below.set_protocol(self._above)
                cast(_AnswersPlainly, self._above).spoken_plainly(self._below, self._begun)
                return False
            self._flush()
            self._below.close()
            return False
        self._handshakes.end(self._below)
        if self._tls.version() != "TLSv1.3":  # whose client has all that it waits for
            self._flush()
        if self._below.is_closing():
            return False
        self._done, self._begun = True, b""
        self._above.connection_made(self)
        return True

    def _read(self) -> bool:
        """Whether there was something for the protocol above."""
        tls, incoming, found = self._tls, self._incoming, False
        while self._reading and not self._closing and not self._ended:
            if not incoming.pending and not tls.pending():
                break
            try:
                data = tls.read(_SIZE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                self._flush()
                self._below.fail(error)
                break
            if not data:
                self._above.eof_received()
                self.close()
                break
            found = True
            self._above.data_received(data)
        return found
        # What an early answer to TLS itself asks for (a key's update) goes out with the next write.

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read())

    # --- a transport, for the protocol above ------------------------------------------------------------------------

    def set_protocol(self, protocol: StreamProtocol) -> None:
        self._above = protocol

    def get_protocol(self) -> StreamProtocol:
        return self._above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tls if name == "ssl_object" else self._below.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._closing or self._below.is_closing()

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False
        self._below.pause_reading()

    def resume_reading(self) -> None:
        if self._reading:
            return
        self._reading = True
        self._below.resume_reading()
        if self._incoming.pending or self._tls.pending():
            asyncio.get_running_loop().call_soon(self._read)

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    @property
    def taken(self) -> float:
        """See `StreamTransport`."""
        return self._below.taken

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._ended or not data:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._below.fail(error)
            return
        self._below.write(self._outgoing.read())

    def write_last(self, data: bytes) -> None:
        """As `write`, and `close` behind it, in one packet."""
        if self._closing:
            return
        if data and not self._ended:
            try:
                self._tls.write(data)
            except ssl.SSLError as error:
                self._below.fail(error)
                return
        self.close()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError("TLS ends both directions at once")

    def end(self) -> None:
        """Ends our side, of TLS and of TCP (`ngx_http_set_lingering_close`).

        What still comes is dropped unread, and the protocol above is told that nothing has come.
        """
        if self._closing or self._ended:
            return
        self._ended = True
        self._say_end()
        self._below.write_eof()

    def _say_end(self) -> None:
        with suppress(OSError):  # ssl.SSLError is one: it waits for the other side's, which we don't
            self._tls.unwrap()
        self._flush()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._ended:
            self._say_end()
        self._below.close()

    def abort(self) -> None:
        self._closing = True
        self._below.abort()


AnyTransport = StreamTransport | SecureTransport | asyncio.Transport
"""What a connection may be carried by: those of ours, and the event loop's."""
