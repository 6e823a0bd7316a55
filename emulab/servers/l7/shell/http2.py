"""The shell of a client's connection over HTTP/2. Each of its streams has an upstream's side of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from emulab.servers.l7.engine.commands import ABORT, CLOSE, END, READ, SEND, SETTLE, TELL
from emulab.servers.l7.engine.http2.connection import Http2Machine
from emulab.servers.l7.engine.http2.stream import Http2Stream
from emulab.servers.l7.shell.client import ClientEnds, end_ours, set_reading, taken
from emulab.servers.l7.shell.context import Context
from emulab.servers.l7.shell.outbox import LARGE
from emulab.servers.l7.shell.upstreamside import UPSTREAM_COMMANDS, UpstreamSide
from emulab.servers.streams.secure import AnyTransport


class StreamSide(UpstreamSide):
    """The upstream's side of one stream."""

    __slots__ = ("_connection", "machine")

    def __init__(self, connection: Http2Client, context: Context, stream: Http2Stream) -> None:
        super().__init__(context, _STREAM_COMMANDS)
        self._connection = connection
        self.transport = connection.transport
        self.machine = self._requests = stream

    def upstream_received(self, data: bytes) -> None:
        if (exchange := self.machine.exchange) is not None:
            if out := exchange.answer(data, self._clock()):
                self.machine.write(out)
            self._carry_out()

    def _carry_out(self) -> None:
        """What the stream wants, and then what the connection has to send of it."""
        if not self._busy:
            self.carry_out()
            self._connection.carry_out()

    def carry_out(self) -> None:
        """What the stream wants; it may want more once its answer has gone out, or hasn't."""
        super()._carry_out()
        self.machine.flush(self._clock())
        super()._carry_out()

    def _send(self, data: bytes) -> None:
        self.machine.write(data)

    def _end(self, _: None) -> None:
        self.machine.end()

    def _close(self, _: None) -> None:
        self.machine.cut(self._clock())


_STREAM_COMMANDS: Mapping[str, Callable[[Any, Any], None]] = {
    **UPSTREAM_COMMANDS,
    SEND: StreamSide._send,
    END: StreamSide._end,
    CLOSE: StreamSide._close,
}


class Http2Client:
    """A client's connection over HTTP/2."""

    __slots__ = ("_busy", "_clock", "_context", "_sides", "_unsent", "machine", "transport")

    def __init__(self, context: Context, transport: AnyTransport, scheme: str, ends: ClientEnds) -> None:
        """Takes the connection over, of which its machine is to be told."""
        self._context = context
        self._clock = context.clock
        self._busy = False
        self._sides: dict[int, StreamSide] = {}
        self._unsent = b""  # frames that go out with those of other streams, as one record of TLS
        self.transport = transport
        self.machine = Http2Machine(context.surroundings, scheme, *ends)
        context.clients.add(self)

    @property
    def deadline(self) -> float:
        """When `expire` is due."""
        return self.machine.deadline

    @property
    def waits(self) -> bool:
        """Whether no request is under way."""
        return not self.machine.streams

    def connection_made(self, transport: AnyTransport) -> None:
        """It has been, to whoever had the connection first."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.clients.discard(self)
        self.machine.gone(self._clock())
        self.carry_out()
        self._context.left()

    def eof_received(self) -> None:
        """See `ClientConnection`."""

    def data_received(self, data: bytes) -> None:
        self.machine.received(data, self._clock())
        self.carry_out()

    def pause_writing(self) -> None:
        self.machine.filled(self._clock())
        self.carry_out()

    def resume_writing(self) -> None:
        self.machine.drained(self._clock())
        self.carry_out()

    def expire(self, now: float) -> None:
        """A deadline of the machine has passed."""
        self.machine.expired(now, taken(self.transport))
        self.carry_out()

    def shutdown(self) -> None:
        """The server ends."""
        self.machine.shut_down(self._clock())
        self.carry_out()

    def abort(self) -> None:
        """Ends the connection at once."""
        self.transport.abort()

    def _settle_now(self) -> None:
        self.machine.settle(self._clock())
        self.carry_out()

    # --- carrying out what the machine wants ------------------------------------------------------------------------

    def carry_out(self) -> None:
        """What streams want, what is to be sent, what the connection wants: until there is nothing more."""
        if self._busy:
            return
        self._busy = True
        machine = self.machine
        try:
            while True:
                streams = machine.concerned()
                for stream in streams:
                    self._side(stream).carry_out()
                if data := machine.output():
                    self._send(data)
                commands, machine.commands = machine.commands, []
                for word, argument in commands:
                    _CARRY_OUT[word](self, argument)
                if not streams and not data and not commands:
                    return
        except BaseException:
            self.transport.abort()  # the end of one connection, and of nobody else's
            raise
        finally:
            self._busy = False

    def _send(self, data: bytes) -> None:
        if not self._unsent:
            self._context.outbox.put(self._send_all, b"")
        self._unsent += data
        if len(self._unsent) > LARGE:
            self._context.outbox.flush()

    def _send_all(self, _: bytes) -> None:
        unsent, self._unsent = self._unsent, b""
        self.transport.write(unsent)

    def _side(self, stream: Http2Stream) -> StreamSide:
        side = self._sides.get(stream.number)
        if side is None:
            side = self._sides[stream.number] = StreamSide(self, self._context, stream)
        if stream.closed:
            del self._sides[stream.number]  # what it wants is carried out once more
        return side

    def _read(self, reading: bool) -> None:
        set_reading(self.transport, reading)

    def _end(self, _: None) -> None:
        self._context.outbox.flush()
        end_ours(self.transport)

    def _close(self, _: None) -> None:
        self._context.outbox.flush()
        self.transport.close()

    def _abort(self, _: None) -> None:
        self._context.outbox.flush()
        self.transport.abort()

    def _settle(self, _: None) -> None:
        asyncio.get_running_loop().call_soon(self._settle_now)

    def _tell(self, record: dict[str, Any]) -> None:
        self._context.emit(record)


_CARRY_OUT: Mapping[str, Callable[[Http2Client, Any], None]] = {
    READ: Http2Client._read,
    END: Http2Client._end,
    CLOSE: Http2Client._close,
    ABORT: Http2Client._abort,
    SETTLE: Http2Client._settle,
    TELL: Http2Client._tell,
}
