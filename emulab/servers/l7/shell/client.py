"""The shell of a client's connection: tells the machine what happens on the sockets, and carries out what it wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import inf
from time import time_ns
from typing import TYPE_CHECKING, Any, cast

from emulab.servers.base import socket_name
from emulab.servers.l7.engine.commands import ABORT, CLOSE, END, HTTP2, READ, SEND, SETTLE, TUNNEL
from emulab.servers.l7.engine.connection import ConnectionMachine
from emulab.servers.l7.engine.secured import ClientIdentity
from emulab.servers.l7.engine.servers import PLAIN_ON_TLS
from emulab.servers.l7.messages.request import begun_head
from emulab.servers.l7.shell.context import Context
from emulab.servers.l7.shell.tunnel import Tunnel
from emulab.servers.l7.shell.upstreamside import UPSTREAM_COMMANDS, UpstreamSide
from emulab.servers.streams.secure import AnyTransport, SecureTransport
from emulab.servers.wire.proxyprotocol import Proxied

if TYPE_CHECKING:
    from emulab.servers.l7.shell.http2 import Http2Client

ALPN = "h2"

ClientEnds = tuple[tuple[str, str], tuple[str, str], Proxied | None, ClientIdentity | None]
"""Of a connection: the client's address and port, ours, what the one in front and TLS tell; as machines take it."""


def set_reading(transport: AnyTransport, reading: bool) -> None:
    """Whether what the other side sends is read."""
    if transport.is_closing():
        return
    if reading:
        transport.resume_reading()
    else:
        transport.pause_reading()


def end_ours(transport: AnyTransport) -> None:
    """Ends our side of a connection; nobody looks at what still comes."""
    if isinstance(transport, SecureTransport):
        transport.end()
    elif transport.can_write_eof():
        transport.write_eof()


def taken(transport: AnyTransport) -> float:
    """When the client last took bytes that waited for it, where that is known."""
    when: float = getattr(transport, "taken", -inf)
    return when


class ClientConnection(UpstreamSide):
    """A client's connection over HTTP/1, and the upstream's that serves it at the moment."""

    __slots__ = ("_accepted", "_proxied", "_scheme", "machine")

    machine: ConnectionMachine

    def __init__(self, context: Context, tls: bool, proxied: Proxied | None = None) -> None:
        """`proxied`: what the one in front says of its client by the PROXY protocol."""
        super().__init__(context, _COMMANDS)
        self._proxied = proxied
        self._scheme = "https" if tls else "http"
        # The loop makes the protocol when it accepts, and tells of the connection after the TLS handshake.
        self._accepted = time_ns() if context.emit.wanted else 0

    @property
    def deadline(self) -> float:
        """When `expire` is due."""
        return self.machine.deadline

    @property
    def waits(self) -> bool:
        """Whether the connection is idle, between two requests."""
        return self.machine.exchange is None

    # --- what happens at the client's side --------------------------------------------------------------------------

    def connection_made(self, transport: AnyTransport) -> None:
        context = self._context
        self.transport, self._write = transport, transport.write
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        secure = transport.get_extra_info("ssl_object")
        ends = (
            (peer[0] if peer else "", socket_name(peer)),
            (str(local[1] if local else 80), socket_name(local)),
            self._proxied,
            context.certificates.secured(secure) if secure is not None else None,
        )
        told = context.certificates.told(secure) if secure is not None and context.emit.wanted else None
        if secure is not None and secure.selected_alpn_protocol() == ALPN:
            http2 = self._in_http2(ends)
            http2.machine.begun(self._clock(), self._accepted, told)
            http2.carry_out()
            return
        self.machine = self._requests = ConnectionMachine(context.surroundings, self._scheme, *ends)
        context.clients.add(self)
        self.machine.opened(self._clock(), self._accepted, told)
        self._carry_out()

    def spoken_plainly(self, transport: AnyTransport, data: bytes) -> None:
        """Answers who speaks HTTP where TLS is spoken (nginx' 497), or nothing that anybody speaks."""
        self.connection_made(transport)
        is_request = bool(begun_head(data).target) or b"\r\n" not in data
        status, what = (PLAIN_ON_TLS, "HTTP") if is_request else (400, "what is no request")
        self.machine.refuse(data, status, f"{what} was spoken where TLS is", self._clock())
        self._carry_out()

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.clients.discard(self)
        self.machine.gone(self._clock())
        self._carry_out()
        self._context.left()

    def eof_received(self) -> None:
        """A client that closes its side is gone, as for nginx: the answer has nowhere to go."""

    def data_received(self, data: bytes) -> None:
        self.machine.received(data, self._clock())
        self._carry_out()

    def pause_writing(self) -> None:
        self.machine.filled(self._clock())
        self._carry_out()

    def resume_writing(self) -> None:
        self.machine.drained(self._clock())
        self._carry_out()

    def expire(self, now: float) -> None:
        """The machine's deadline has passed."""
        self.machine.expired(now, taken(self.transport))
        self._carry_out()

    def shutdown(self) -> None:
        """The server ends."""
        self.machine.shut_down(self._clock())
        self._carry_out()

    def abort(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()

    def _settle_now(self) -> None:
        self.machine.settle(self._clock())
        self._carry_out()

    def _in_http2(self, ends: ClientEnds) -> Http2Client:
        """Who has the connection from now on."""
        from emulab.servers.l7.shell.http2 import Http2Client  # takes a while to load

        http2 = Http2Client(self._context, self.transport, self._scheme, ends)
        self.transport.set_protocol(cast(Any, http2))
        return http2

    def _go_on_in_http2(self, begun: bytes) -> None:
        machine, context = self.machine, self._context
        context.outbox.flush()
        context.clients.discard(self)
        port, proxied, secured = machine.listener[1], machine.ends.proxied, machine.secured
        http2 = self._in_http2(((machine.address, machine.name), (port, machine.local), proxied, secured))
        http2.machine.taken_over(self._clock())
        http2.data_received(begun)

    # --- carrying out what the machine wants ------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        self._put(self._write, data)

    def _read(self, reading: bool) -> None:
        set_reading(self.transport, reading)

    def _end(self, _: None) -> None:
        self._context.outbox.flush()
        end_ours(self.transport)

    def _close(self, _: None) -> None:
        outbox, transport = self._context.outbox, self.transport
        if isinstance(transport, SecureTransport):
            transport.write_last(outbox.take(self._write))
        else:
            outbox.flush()
            transport.close()

    def _abort(self, _: None) -> None:
        self._context.outbox.flush()
        self.transport.abort()

    def _settle(self, _: None) -> None:
        asyncio.get_running_loop().call_soon(self._settle_now)

    def _tunnel(self, timeout: float) -> None:
        context, upstream = self._context, self.upstream
        assert upstream is not None
        context.outbox.flush()
        upstream.owner = None
        context.clients.discard(self)
        leaving = self.machine.leaving

        def over() -> None:
            context.pool.forget(upstream)
            for one in leaving:
                one()

        Tunnel(context, self.transport, upstream.transport, timeout, over)


_COMMANDS: Mapping[str, Callable[[Any, Any], None]] = {
    **UPSTREAM_COMMANDS,
    SEND: ClientConnection._send,
    READ: ClientConnection._read,
    END: ClientConnection._end,
    CLOSE: ClientConnection._close,
    ABORT: ClientConnection._abort,
    SETTLE: ClientConnection._settle,
    HTTP2: ClientConnection._go_on_in_http2,
    TUNNEL: ClientConnection._tunnel,
}
