"""The shell of a client's connection: tells the machine what happens on the sockets, and carries out what it wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any, cast

from emulab.servers.accesslog import OWN
from emulab.servers.base import socket_name
from emulab.servers.l7.engine.commands import (
    ABORT,
    ASK,
    CLOSE,
    DRAIN,
    DROP,
    END,
    FORWARD,
    LOG,
    OPEN,
    READ,
    RELEASE,
    SELECT,
    SEND,
    SETTLE,
    TELL,
    TUNNEL,
    UNASK,
    WAKE,
)
from emulab.servers.l7.engine.connection import ConnectionMachine
from emulab.servers.l7.engine.exchange import Exchange
from emulab.servers.l7.shell.asking import answer
from emulab.servers.l7.shell.context import Context
from emulab.servers.l7.shell.tunnel import Tunnel
from emulab.servers.l7.shell.upstream import UpstreamConnection
from emulab.servers.wire.proxyprotocol import Proxied


class ClientConnection(asyncio.Protocol):
    """A client's connection, and the upstream's that serves it at the moment."""

    __slots__ = (
        "_accepted",
        "_asking",
        "_busy",
        "_clock",
        "_connecting",
        "_context",
        "_proxied",
        "_scheme",
        "machine",
        "transport",
        "upstream",
    )

    transport: asyncio.Transport
    machine: ConnectionMachine

    def __init__(self, context: Context, tls: bool, proxied: Proxied | None = None) -> None:
        """`proxied`: what the one in front says of its client by the PROXY protocol."""
        self._context = context
        self._proxied = proxied
        self._clock = context.clock
        self._scheme = "https" if tls else "http"
        # The loop makes the protocol when it accepts, and tells of the connection after the TLS handshake.
        self._accepted = time_ns() if context.emit.wanted else 0
        self._busy = False
        self._connecting: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self.upstream: UpstreamConnection | None = None

    @property
    def deadline(self) -> float:
        """When `expire` is due."""
        return self.machine.deadline

    @property
    def waits(self) -> bool:
        """Whether the connection is idle, between two requests."""
        return self.machine.exchange is None

    # --- what happens at the client's side --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context = self._context
        self.transport = cast(asyncio.Transport, transport)
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        client = (peer[0] if peer else "", socket_name(peer))
        secure = transport.get_extra_info("ssl_object")
        self.machine = ConnectionMachine(
            context.surroundings,
            self._scheme,
            client,
            (str(local[1] if local else 80), socket_name(local)),
            self._proxied,
            context.certificates.secured(secure) if secure is not None else None,
        )
        context.clients.add(self)
        told = context.certificates.told(secure) if secure is not None and context.emit.wanted else None
        self.machine.opened(self._clock(), self._accepted, told)
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
        self.machine.expired(now)
        self._carry_out()

    def shutdown(self) -> None:
        """The server ends."""
        self.machine.shut_down()
        self._carry_out()

    def abort(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()

    def _settle_now(self) -> None:
        self.machine.settle(self._clock())
        self._carry_out()

    # --- what happens at the upstream's side ------------------------------------------------------------------------

    def connected(self, upstream: UpstreamConnection) -> None:
        self._connecting = None
        if (exchange := self.machine.exchange) is None:
            upstream.drop()  # nobody has a use for it any more
        else:
            self.upstream, upstream.owner = upstream, self
            if data := exchange.connected(upstream.reader, upstream.source, False, self._clock()):
                upstream.transport.write(data)
            self._carry_out()

    def connect_failed(self, why: str, timed_out: bool) -> None:
        self._connecting = None
        if (exchange := self.machine.exchange) is not None:
            exchange.refused(why, timed_out, self._clock())
            self._carry_out()

    def upstream_received(self, data: bytes) -> None:
        if (exchange := self.machine.exchange) is not None:
            if out := exchange.answer(data, self._clock()):
                self.transport.write(out)
            self._carry_out()

    def upstream_ended(self, reset: bool) -> None:
        self.upstream = None
        if (exchange := self.machine.exchange) is not None:
            exchange.upstream_ended(reset, self._clock())
            self._carry_out()

    def upstream_filled(self, full: bool) -> None:
        if (exchange := self.machine.exchange) is not None:
            exchange.upstream_filled(full, self._clock())
            self._carry_out()

    # --- carrying out what the machine wants ------------------------------------------------------------------------

    def _carry_out(self) -> None:
        wanted = self.machine.commands
        if self._busy or not wanted:
            return  # what is appended while commands are carried out comes after them
        self._busy = True
        try:
            for word, argument in wanted:
                _CARRY_OUT[word](self, argument)
        except BaseException:
            wanted.clear()
            self._busy = False
            self.transport.abort()  # the end of one connection, and of nobody else's
            raise
        wanted.clear()
        self._busy = False

    def _send(self, data: bytes) -> None:
        self.transport.write(data)

    def _read(self, reading: bool) -> None:
        if self.transport.is_closing():
            return
        if reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _end(self, _: None) -> None:
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _close(self, _: None) -> None:
        self.transport.close()

    def _abort(self, _: None) -> None:
        self.transport.abort()

    def _settle(self, _: None) -> None:
        asyncio.get_running_loop().call_soon(self._settle_now)

    def _select(self, address: str) -> None:
        exchange = self.machine.exchange
        if exchange is None:
            return  # over already
        upstream = self.upstream = self._context.pool.take(address)
        if upstream is None:
            exchange.vacant(self._clock())
        else:
            upstream.owner = self
            if data := exchange.connected(upstream.reader, upstream.source, True, self._clock()):
                upstream.transport.write(data)

    def _open(self, wanted: tuple[str, float]) -> None:
        self._connecting = self._context.pool.open(*wanted, self)

    def _forward(self, data: bytes) -> None:
        if self.upstream is not None:
            self.upstream.transport.write(data)

    def _drain(self, reading: bool) -> None:
        upstream = self.upstream
        if upstream is None or upstream.transport.is_closing():
            return
        if reading:
            upstream.transport.resume_reading()
        else:
            upstream.transport.pause_reading()

    def _release(self, now: float) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            self._context.pool.release(upstream, now)

    def _drop(self, _: None) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.drop()

    def _tunnel(self, timeout: float) -> None:
        context, upstream = self._context, self.upstream
        assert upstream is not None
        upstream.owner = None
        context.clients.discard(self)
        leaving = self.machine.leaving

        def over() -> None:
            context.pool.forget(upstream)
            for one in leaving:
                one()

        Tunnel(context, self.transport, upstream.transport, timeout, over)

    def _ask(self, question: Any) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._asked(question))

    async def _asked(self, question: Any) -> None:
        told = await answer(question, self._context.pool.resolver)
        self._asking = None
        if (exchange := self.machine.exchange) is not None:
            exchange.told(told, self._clock())
            self._carry_out()

    def _unask(self, _: None) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    def _wake(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._woken, self.machine.exchange)

    def _woken(self, exchange: Exchange | None) -> None:
        if exchange is not None and self.machine.exchange is exchange:
            exchange.woken(self._clock())
            self._carry_out()

    def _tell(self, record: dict[str, Any]) -> None:
        self._context.emit(record)

    def _log(self, line: str) -> None:
        self._context.journal.write(OWN, line)


_CARRY_OUT: Mapping[str, Callable[[ClientConnection, Any], None]] = {
    SEND: ClientConnection._send,
    READ: ClientConnection._read,
    END: ClientConnection._end,
    CLOSE: ClientConnection._close,
    ABORT: ClientConnection._abort,
    SETTLE: ClientConnection._settle,
    SELECT: ClientConnection._select,
    OPEN: ClientConnection._open,
    FORWARD: ClientConnection._forward,
    DRAIN: ClientConnection._drain,
    RELEASE: ClientConnection._release,
    DROP: ClientConnection._drop,
    TUNNEL: ClientConnection._tunnel,
    ASK: ClientConnection._ask,
    UNASK: ClientConnection._unask,
    WAKE: ClientConnection._wake,
    TELL: ClientConnection._tell,
    LOG: ClientConnection._log,
}
