"""The upstream's side of one request at a time, whatever the client speaks: what happens there, and what is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from emulab.servers.accesslog import OWN
from emulab.servers.journal import LaterLine
from emulab.servers.l7.engine.aside import MirroredRequest
from emulab.servers.l7.engine.balance.limits import QueuedRequest, Wake
from emulab.servers.l7.engine.commands import (
    ASK,
    DRAIN,
    DROP,
    FORWARD,
    LOG,
    MIRROR,
    OPEN,
    PACE,
    RELEASE,
    SELECT,
    TELL,
    UNASK,
    WAIT,
    WAKE,
    Command,
)
from emulab.servers.l7.engine.exchange import Exchange
from emulab.servers.l7.shell.asking import answer
from emulab.servers.l7.shell.context import Context
from emulab.servers.l7.shell.upstream import UpstreamConnection
from emulab.servers.streams.secure import AnyTransport


class RequestMachine(Protocol):
    """A machine that has one request at a time."""

    commands: list[Command]

    @property
    def exchange(self) -> Exchange | None: ...


class UpstreamSide:
    """Serves the requests of a machine with a connection to an upstream at a time."""

    __slots__ = (
        "_asking",
        "_busy",
        "_carrying",
        "_clock",
        "_connecting",
        "_context",
        "_pool",
        "_put",
        "_requests",
        "_write",
        "transport",
        "upstream",
    )

    transport: AnyTransport  # to the client
    _requests: RequestMachine
    _write: Callable[[bytes], None]  # to the client

    def __init__(self, context: Context, carrying: Mapping[str, Callable[[Any, Any], None]]) -> None:
        """`carrying`: how each command is carried out."""
        self._context = context
        self._carrying = carrying
        self._pool = context.pool
        self._clock = context.clock
        self._put = context.outbox.put
        self._busy = False
        self._connecting: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self.upstream: UpstreamConnection | None = None

    # --- what happens at the upstream's side ------------------------------------------------------------------------

    def connected(self, upstream: UpstreamConnection) -> None:
        self._connecting = None
        if (exchange := self._requests.exchange) is None:
            upstream.drop()  # nobody has a use for it any more
        elif upstream.transport.is_closing():  # its end is told to its owner, which it has none yet
            exchange.refused("upstream ended the connection before it was asked", False, self._clock())
            self._carry_out()
        else:
            self.upstream, upstream.owner = upstream, self
            if data := exchange.connected(upstream.reader, upstream.source, False, self._clock()):
                self._put(upstream.write, data)
            self._carry_out()

    def connect_failed(self, why: str, timed_out: bool) -> None:
        self._connecting = None
        if (exchange := self._requests.exchange) is not None:
            exchange.refused(why, timed_out, self._clock())
            self._carry_out()

    def upstream_received(self, data: bytes) -> None:
        if (exchange := self._requests.exchange) is not None:
            if out := exchange.answer(data, self._clock()):
                self._put(self._write, out)
            self._carry_out()

    def upstream_ended(self, reset: bool) -> None:
        self.upstream = None
        if (exchange := self._requests.exchange) is not None:
            exchange.upstream_ended(reset, self._clock())
            self._carry_out()

    def upstream_filled(self, full: bool) -> None:
        if (exchange := self._requests.exchange) is not None:
            exchange.upstream_filled(full, self._clock())
            self._carry_out()

    # --- carrying out what the machine wants ------------------------------------------------------------------------

    def _carry_out(self) -> None:
        wanted = self._requests.commands
        if self._busy or not wanted:
            return  # what is appended while commands are carried out comes after them
        self._busy, carry_out = True, self._carrying
        try:
            for word, argument in wanted:
                carry_out[word](self, argument)
        except BaseException:
            wanted.clear()
            self._busy = False
            self.transport.abort()  # the end of one connection, and of nobody else's
            raise
        wanted.clear()
        self._busy = False

    def _select(self, address: str) -> None:
        exchange = self._requests.exchange
        if exchange is None:
            return  # over already
        way = exchange.way
        upstream = self._pool.take(address if way is None else (address, way))
        self.upstream = upstream
        if upstream is None:
            exchange.vacant(self._clock())
        else:
            upstream.owner = self
            if data := exchange.connected(upstream.reader, upstream.source, True, self._clock()):
                self._put(upstream.write, data)

    def _open(self, wanted: tuple[str, float]) -> None:
        exchange, (address, seconds) = self._requests.exchange, wanted
        if exchange is not None:
            way = exchange.way
            where = address if way is None else (address, way)
            self._connecting = self._pool.open(where, seconds, self)

    def _wait(self, waiting: QueuedRequest) -> None:
        exchange = self._requests.exchange

        def wake() -> None:
            if exchange is not None and exchange is self._requests.exchange:
                exchange.woken(self._clock())
                self._carry_out()

        waiting.wake = wake

    def _wake(self, wake: Wake) -> None:
        asyncio.get_running_loop().call_soon(wake)

    def _forward(self, data: bytes) -> None:
        if self.upstream is not None:
            self._put(self.upstream.write, data)

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
            self._pool.release(upstream, now)

    def _drop(self, _: None) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            self._context.outbox.flush()
            upstream.drop()

    def _ask(self, question: Any) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._asked(question))

    async def _asked(self, question: Any) -> None:
        told = await answer(question, self._pool.resolver)
        self._asking = None
        if (exchange := self._requests.exchange) is not None:
            exchange.told(told, self._clock())
            self._carry_out()

    def _unask(self, _: None) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    def _pace(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._go_on_sending, self._requests.exchange)

    def _go_on_sending(self, exchange: Exchange | None) -> None:
        if exchange is not None and self._requests.exchange is exchange:
            exchange.go_on_sending(self._clock())
            self._carry_out()

    def _mirror(self, request: MirroredRequest) -> None:
        self._context.mirrors.send(request)

    def _tell(self, record: dict[str, Any]) -> None:
        self._context.emit(record)

    def _log(self, line: str | LaterLine) -> None:
        self._context.journal.write(OWN, line)


UPSTREAM_COMMANDS: Mapping[str, Callable[[Any, Any], None]] = {
    SELECT: UpstreamSide._select,
    OPEN: UpstreamSide._open,
    FORWARD: UpstreamSide._forward,
    DRAIN: UpstreamSide._drain,
    RELEASE: UpstreamSide._release,
    MIRROR: UpstreamSide._mirror,
    DROP: UpstreamSide._drop,
    ASK: UpstreamSide._ask,
    UNASK: UpstreamSide._unask,
    PACE: UpstreamSide._pace,
    TELL: UpstreamSide._tell,
    LOG: UpstreamSide._log,
    WAIT: UpstreamSide._wait,
    WAKE: UpstreamSide._wake,
}
