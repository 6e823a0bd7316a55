"""One TCP connection to a stand-in: the order of answers, flow control and the ways to end.

Rules:

* Answers go out in the order of the requests. While one is delayed or streamed, or while the client does
  not read, the requests behind it wait in the reader and in the end the socket isn't read any more.
* A client that sends FIN during a delay has left, as for Go's server: the delay is cancelled.
* Who is to give idle connections up resets one when the next request comes, which was under way then.
* After an error the connection lingers: FIN, then what still comes is thrown away for a moment. Closing
  with bytes unread makes the kernel send RST, which can destroy the answer before the client reads it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

from emulab.servers.base import socket_name
from emulab.servers.echo.answers import EchoAnswer, answer, answer_bytes, refusal
from emulab.servers.echo.grpchealth import PREFACE, GRPCHealth
from emulab.servers.echo.records import log, record, told_calls, told_exit
from emulab.servers.echo.resetting import reset
from emulab.servers.echo.tls import HANDSHAKE, Secured, secrets_of
from emulab.servers.echo.websocket import WebSocketEcho, handshake, websocket_problem
from emulab.servers.wire.http1.requests import Request, RequestReader

if TYPE_CHECKING:
    from emulab.servers.echo.server import EchoListener

FAREWELL = 0.05  # seconds from the end of a program's connection to its own
LINGER = 1.0  # seconds for which a client may still send after an error
FRESH = 2.0  # seconds that a connection without a request yet keeps when its listener is removed
_OTHERS = (HANDSHAKE, PREFACE[0])  # with what others begin who may not speak HTTP/1.1
_WAITING_LIMIT = 16  # requests behind a slow one before the socket isn't read any more
_BLOCK = bytes(64 * 1024)
_TURN = 2**20  # bytes of a stream to write before other connections get their turn


class EchoConnection(asyncio.Protocol):
    """The protocol of one accepted connection."""

    __slots__ = (
        "_client",
        "_closing",
        "_current",
        "_eof",
        "_idle_since",
        "_left",
        "_listener",
        "_reader",
        "_reading",
        "_retiring",
        "_secured",
        "_served",
        "_timer",
        "_transport",
        "_tunnel",
        "_writable",
    )

    def __init__(self, listener: EchoListener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport
        self._reader = RequestReader()
        self._tunnel: WebSocketEcho | GRPCHealth | None = None  # what has taken HTTP/1.1's place
        self._current: tuple[Request, EchoAnswer, bool] | None = None  # delayed or streamed; close after it?
        self._timer: asyncio.Handle | None = None
        self._client = ""
        self._left = 0  # bytes of the current stream still to write
        self._served = 0
        self._reading = True
        self._writable = True
        self._eof = False
        self._retiring = False
        self._secured = False
        self._closing = False
        self._idle_since = 0.0  # seconds of the monotonic clock

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._client = socket_name(transport.get_extra_info("peername"))
        self._listener.opened(self)
        greeting = self._listener.identity.greeting
        if greeting is not None and not self._closing:
            self._transport.write(greeting)
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._cancel_timer()
        self._current = None
        self._reader.requests.clear()
        self._listener.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._tunnel is not None:
            self._exchange(data)
            return
        if self._listener.idle and self._served and self._listener.gives_up(self._idle_since, self.is_busy()):
            self._closing = True
            reset(self._transport)
            return
        if not self._served and data[0] in _OTHERS and self._speaks_otherwise(data):
            return
        self._reader.feed(data)
        if self._listener.hub.emit.wanted:
            now = time.perf_counter()
            for request in self._reader.requests:
                request.arrived = request.arrived or now
        self._work()

    def _speaks_otherwise(self, data: bytes) -> bool:
        """Goes on in TLS or HTTP/2 where the client has begun so."""
        if self._reader.in_message:
            return False
        if data[0] == HANDSHAKE and not self._secured:
            self._secure(data)
            return True
        if data.startswith(PREFACE):
            self._tunnel = GRPCHealth()
            self._exchange(data)
            return True
        return False

    def _secure(self, hello: bytes) -> None:
        secured = Secured(self._transport, self, secrets_of(self._listener.identity.played))
        self._transport.set_protocol(secured)
        self._transport, self._secured = cast(asyncio.Transport, secured), True
        secured.data_received(hello)

    def eof_received(self) -> bool:
        """True while answers are still owed that a client which only ended its sending can read."""
        self._eof = True
        if self._closing or self._tunnel is not None:
            return False
        if self._current is not None and self._current[1].delay:
            self._cancel_timer()
            self._transport.abort()
            return False
        return self._current is not None or bool(self._reader.requests)

    def pause_writing(self) -> None:
        self._writable = False
        self._steer()

    def resume_writing(self) -> None:
        self._writable = True
        if self._current is not None and self._left:
            self._stream()
        self._work()

    def retire(self, fresh: float = FRESH) -> None:
        """Ends the connection once no request is under way; one without any yet has `fresh` seconds."""
        self._retiring = True
        if self._closing or self.is_busy():
            return
        if self._served:
            self._close()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(fresh, self._give_up)

    def close_if_idle(self) -> None:
        """Closes a kept-alive connection between two requests; a fresh one is left alone."""
        if self._served and not self._closing and not self.is_busy():
            self._close()

    def end(self, farewell: bool = True) -> None:
        """Ends the connection now, whatever is under way; without `farewell` as that of a process that was killed."""
        if farewell and self._tunnel is not None and not self._closing:
            self._transport.write(self._tunnel.goodbye())
            self._close()
        else:
            self._transport.abort()

    def is_busy(self) -> bool:
        return self._tunnel is not None or self.has_request()

    def has_request(self) -> bool:
        """Whether a request is under way, of which there is an end."""
        reader = self._reader
        return self._current is not None or reader.in_message or bool(reader.requests)

    def _give_up(self) -> None:
        self._timer = None
        if not self._closing and not self.is_busy():
            self._close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._closing = True
        self._cancel_timer()
        self._transport.close()

    def _linger(self) -> None:
        """Sends FIN and gives the client a moment to read what was answered."""
        self._closing = True
        self._cancel_timer()
        if self._eof or self._transport.is_closing():
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = asyncio.get_running_loop().call_later(LINGER, self._transport.close)

    def _work(self) -> None:
        """Answers what can be answered now, in order."""
        reader = self._reader
        while self._writable and self._current is None and not self._closing and reader.requests:
            self._begin(reader.requests.popleft())
            if self._tunnel is not None:
                return
        if self._closing:
            return
        if self._current is None and not reader.requests:
            if reader.failure:
                self._fail(reader.failure)
                return
            if self._eof or (self._retiring and self._served and not reader.in_message):
                self._close()
                return
            if reader.expecting:
                reader.expecting = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._steer()

    def _steer(self) -> None:
        """Reads the socket only as long as what comes can go on."""
        reader = self._reader
        waiting = len(reader.requests) >= _WAITING_LIMIT or reader.upgraded
        reading = self._closing or (self._writable and not (self._current is not None and waiting))
        if reading is self._reading or self._eof:
            return
        self._reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _begin(self, request: Request) -> None:
        listener = self._listener
        self._served += 1
        listener.hub.requests += 1
        if request.websocket:
            self._upgrade(request)
            return
        if self._secured:
            request.secured = cast(Secured, self._transport).agreed
        identity = listener.identity
        if identity.speak is not None and identity.played is not None:
            what = identity.speak(request, identity.played, self._client)
        else:
            what = answer(request, identity, self._client)
        close = not request.keep_alive or listener.draining or self._retiring or what.close
        if what.delay:
            if self._eof:
                self._transport.abort()
                return
            self._current = (request, what, close)
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_later(what.delay, self._delayed)
        elif what.work is not None:
            self._current = (request, what, close)
            self._cancel_timer()
            working = asyncio.ensure_future(what.work(self._transport.get_extra_info("socket")))
            working.add_done_callback(self._worked)
            listener.hub.working.add(working)
        elif what.exits is not None:
            self._exit(request, what.exits)
        else:
            self._send(request, what, close)

    def _delayed(self) -> None:
        assert self._current is not None
        request, what, close = self._current
        self._current = self._timer = None
        # Draining may have begun meanwhile.
        self._send(request, what, close or self._listener.draining or self._retiring)
        self._work()

    def _worked(self, working: asyncio.Future[EchoAnswer]) -> None:
        """The answer to the current request has been made."""
        self._listener.hub.working.discard(working)
        if self._current is None or self._closing or working.cancelled():
            return
        request, _, close = self._current
        self._current = None
        failed = working.exception()
        what = refusal(502, str(failed)) if failed is not None else working.result()
        self._send(request, what, close or self._listener.draining or self._retiring)
        self._work()

    def _exit(self, request: Request, status: int) -> None:
        """The program ends without an answer, as the request wants it to.

        Its connection is closed by then: who hears of the end may take the pod's network away at once, and with it the
        FIN for which the client waits.
        """
        self._record(request, 0)
        self._close()
        asyncio.get_running_loop().call_later(FAREWELL, told_exit, self._listener, status)

    def _send(self, request: Request, what: EchoAnswer, close: bool) -> None:
        journal = self._listener.hub.journal
        if journal.room:
            log(self._listener, self._client, request, what.status, what.stream or len(what.body))
        else:  # a busy server has no time to say more than how many there were
            journal.missed[self._listener.log] += 1
        self._transport.write(answer_bytes(what, request.method, request.proto, close))
        if what.stream and request.method != "HEAD":
            self._left = what.stream
            self._current = (request, what, close)
            self._stream()
        else:
            self._done(request, what.status, close)

    def _stream(self) -> None:
        """Writes the current stream until the client's buffer is full, the turn is over or it ends."""
        budget = _TURN
        self._cancel_timer()
        while self._left and self._writable and not self._transport.is_closing():
            if budget <= 0:
                self._timer = asyncio.get_running_loop().call_soon(self._continue)
                return
            size = min(self._left, len(_BLOCK))
            self._transport.write(_BLOCK if size == len(_BLOCK) else _BLOCK[:size])
            self._left -= size
            budget -= size
        if not self._left and self._current is not None:
            request, what, close = self._current
            self._current = None
            self._done(request, what.status, close)

    def _continue(self) -> None:
        self._timer = None
        if self._current is not None:
            self._stream()
            self._work()

    def _done(self, request: Request, status: int, close: bool) -> None:
        self._record(request, status)
        self._idle_since = time.monotonic()
        if close:
            self._close()

    def _fail(self, status: int) -> None:
        self._record(None, status)
        log(self._listener, self._client, None, status, 0)
        self._transport.write(
            answer_bytes(refusal(status), "HEAD" if self._reader.to_head else "GET", close=True)
        )
        self._linger()

    def _record(self, request: Request | None, status: int) -> None:
        if self._listener.hub.emit.wanted:
            record(self._listener, self._transport, self._client, request, status)

    def _upgrade(self, request: Request) -> None:
        problem = websocket_problem(request)
        if problem or self._eof:
            problem = problem or 400  # nothing can come over a connection that the client has half closed
            self._record(request, problem)
            self._transport.write(answer_bytes(refusal(problem), close=True))
            self._linger()
            return
        self._cancel_timer()
        self._record(request, 101)
        log(self._listener, self._client, request, 101)
        self._transport.write(handshake(request))
        self._tunnel = WebSocketEcho()
        rest, self._reader.rest, self._reader.upgraded = self._reader.rest, b"", False
        self._exchange(rest)
        self._steer()

    def _exchange(self, data: bytes) -> None:
        assert self._tunnel is not None
        reply = self._tunnel.feed(data)
        if isinstance(self._tunnel, GRPCHealth):
            self._served += len(self._tunnel.paths)
            told_calls(self._listener, self._transport, self._client, self._tunnel.paths)
            self._tunnel.paths.clear()
        if reply:
            self._transport.write(reply)
        if self._tunnel.closed:
            self._linger()
