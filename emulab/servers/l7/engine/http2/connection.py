"""A client's connection over HTTP/2: frames in and out, which streams there are, and the end.

A machine: events are its methods, with the time as an argument. What is to be sent is had by `output`; what else it
wants done is in `commands`, and what streams want in theirs: those that an event concerned are had by `concerned`.

What a client may ask of us is bounded (`bounds`), and who takes nothing is waited for `send_timeout`.

Of what was read at most `TURN` bytes are looked at: the rest waits for the loop's next turn, as a frame costs more than
its bytes.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from emulab.servers.l7.engine.commands import ABORT, CLOSE, END, READ, SETTLE, TELL, Command
from emulab.servers.l7.engine.http2.bounds import OWED, Bounds
from emulab.servers.l7.engine.http2.heads import refused_head, request_head
from emulab.servers.l7.engine.http2.stream import Http2Stream
from emulab.servers.l7.personalities.personality import Ends
from emulab.servers.wire.http1.head import BadMessage
from emulab.servers.wire.http2.fields import FieldList
from emulab.servers.wire.http2.frames import ServerEnd
from emulab.servers.wire.proxyprotocol import Proxied

if TYPE_CHECKING:
    from emulab.servers.l7.engine.secured import ClientIdentity
from emulab.servers.l7.engine.surroundings import EngineSurroundings

LINGER, LINGER_MAX = 5.0, 30.0
"""Seconds for which a client is read from after our last word: since it said anything, and in all (nginx' `lingering`).

A socket that is closed while something comes, were it a WINDOW_UPDATE, is reset by the kernel, and what of the last
answer isn't out yet is lost.
"""
TURN = 1 << 14
SLICE = 1 << 12
"""Bytes that the library reads before what is in them is looked at: whoever asks for too much is stopped then."""


class Http2Machine:
    """What becomes of one client's connection, without its socket."""

    def __init__(
        self,
        around: EngineSurroundings,
        scheme: str,
        client: tuple[str, str],
        local: tuple[str, str],
        proxied: Proxied | None = None,
        secured: ClientIdentity | None = None,
    ) -> None:
        """See `ConnectionMachine`."""
        self.around = around
        snapshot = around.snapshot
        self.personality = personality = snapshot.over_tls if scheme == "https" else snapshot.personality
        self.options = snapshot.options
        self.scheme = scheme
        self.address, self.name = client
        port, self.local = local
        self.listener, self.secured = (scheme, port), secured
        self.port = personality.told_port(scheme, port)
        self.ends = Ends(self.address, self.port, scheme, proxied)
        self.forwarding = personality.forwarding(self.address, self.port, scheme)
        self.everywhere = snapshot.answer_lines
        self.extra = personality.answer_lines(scheme, self.options.hsts) + self.everywhere
        self.commands: list[Command] = []
        self.frames = ServerEnd(self.options.http2_streams)
        self.streams: dict[int, Http2Stream] = {}
        self.blocked: dict[int, Http2Stream] = {}  # those that wait for a window
        self.stalled = False  # whether the client takes no more bytes
        self.bounds = Bounds(self.options.http2_streams)
        self._concerned: dict[int, Http2Stream] = {}
        self._said = b""  # what goes before all that is said from now on
        self._held = b""
        self._reading = True
        self._opened = False  # whether a window has been opened in this reading
        self._leaving = False  # whether no more requests are taken
        self._closing = False  # whether our last word is said, and what still comes is dropped
        self._until = 0.0  # when the client has had long enough to hear it
        self.closed = False
        self._deadline = inf
        self._now = 0.0

    @property
    def deadline(self) -> float:
        """When `expired` is due."""
        return min([self._deadline, *(stream.deadline for stream in self.streams.values())])

    @property
    def _patience(self) -> float:
        """Seconds for which a client may take nothing."""
        return self.around.snapshot.policy.send_timeout

    # --- events -------------------------------------------------------------------------------------------------

    def begun(self, now: float, accepted: int, handshake: dict[str, Any] | None) -> None:
        """The connection is there. Told as `ConnectionMachine.opened` does it."""
        around = self.around
        around.counters.accepted += 1
        if around.audience.wanted:
            time = {"time": accepted} if accepted else {}
            self.commands.append((TELL, {**self.told("proxy-accept"), "tls": handshake is not None, **time}))
            if handshake is not None:
                self.commands.append((TELL, {**self.told("tls"), **handshake}))
        self.taken_over(now)

    def taken_over(self, now: float) -> None:
        """The connection, of which all is told already, goes on in HTTP/2."""
        self._deadline = now + self.options.header_timeout
        if self.around.closing:
            self._farewell()

    def received(self, data: bytes, now: float) -> None:
        """The client sent something."""
        if self._closing and not self.stalled:
            self._deadline = min(now + LINGER, self._until)
        if self._closing or self.closed:
            return
        self._held = self._held + data if self._held else data
        self.bounds.begin_reading()
        if self._reading:
            self._turn(now)

    def settle(self, now: float) -> None:
        """Goes on with what was held back."""
        if self._held and not self._closing and not self.closed:
            self._turn(now)

    def gone(self, now: float) -> None:
        """The connection has ended."""
        self.closed = True
        self._let_go(now)

    def filled(self, now: float) -> None:
        """The client takes no more bytes."""
        self.stalled = True
        self.bounds.owed = 0
        self._deadline = now + self._patience

    def drained(self, now: float) -> None:
        """The client takes bytes again."""
        self.stalled = False
        self.bounds.owed = 0
        self._rest(now)
        self._resume(now)
        self._read(not self._held)
        if self._held:
            self.commands.append((SETTLE, None))

    def expired(self, now: float, taken: float = -inf) -> None:
        """The deadline of the connection or of a stream has passed. `taken`: see `ConnectionMachine`."""
        self._now = now
        if self._deadline <= now and (self.stalled or self.closed):
            self._deadline = taken + self._patience
            if self._deadline <= now:
                self.commands.append((ABORT, None))
                self._deadline = now + LINGER
                return
        if self._deadline <= now:
            self._farewell()
            self._deadline = now + LINGER
            if not self.streams:
                self._close()
        for stream in [one for one in self.streams.values() if one.deadline <= now]:
            self._concern(stream)
            stream.expired(now, taken if self.stalled else -inf)

    def shut_down(self, now: float) -> None:
        """The server ends: the requests under way may end, and the connection with them."""
        if self._closing:
            return
        self._now = now
        self._farewell()
        if not self.streams:
            self._close()

    # --- what a shell carries out -------------------------------------------------------------------------------

    def output(self) -> bytes:
        """The bytes that are to be sent now."""
        data: bytes = self.frames.data_to_send()
        if self._said:
            data, self._said = self._said + data, b""
        self.bounds.moved += len(data)
        if self.stalled:
            self.bounds.owed += len(data)
        return data

    def concerned(self) -> list[Http2Stream]:
        """The streams that have wanted something since this was asked."""
        found = list(self._concerned.values())
        self._concerned.clear()
        return found

    # --- reading ------------------------------------------------------------------------------------------------

    def _turn(self, now: float) -> None:
        self._now = now
        held = self._held
        piece, self._held = (held, b"") if len(held) <= TURN else (held[:TURN], held[TURN:])
        self.bounds.moved += len(piece)
        view = memoryview(piece)
        try:
            for start in range(0, len(piece), SLICE):
                for event in self.frames.receive_data(view[start : start + SLICE]):
                    self._take(event, now)
                    if self._closing:
                        return
        except ProtocolError:
            self._end(now)  # the library has said why
            return
        self.frames.forget_closed()
        if self._opened:  # once a reading, as there may be thousands of such frames in one
            self._opened = False
            self._resume(now)
        if self._closing:
            return
        if self.bounds.flooded:
            self._fail(ErrorCodes.NO_ERROR, now)
            return
        flooded = self.stalled and self.bounds.owed > OWED
        self._read(not self._held and not flooded)
        if self._held and not flooded:
            self.commands.append((SETTLE, None))

    def _read(self, reading: bool) -> None:
        if reading != self._reading and not self.closed:
            self._reading = reading
            self.commands.append((READ, reading))

    def _take(self, event: Event, now: float) -> None:
        match event:
            case RequestReceived():
                if event.priority_updated is not None:
                    self.bounds.prefers()
                self._take_request(event, now)
            case DataReceived():
                self._take_data(event, now)
            case TrailersReceived():
                # nginx takes them for a request with a number that it knows (ngx_http_v2_state_headers).
                self._fail(ErrorCodes.PROTOCOL_ERROR, now)
            case StreamReset():
                if (stream := self.streams.get(event.stream_id)) is not None:
                    self._concern(stream)
                    stream.left(now)
            case WindowUpdated() | RemoteSettingsChanged():
                self._opened = True
            case PriorityUpdated():
                if self.bounds.prefers_too_often():
                    self._fail(ErrorCodes.ENHANCE_YOUR_CALM, now)

    def _take_request(self, event: RequestReceived, now: float) -> None:
        number, fields = event.stream_id, event.headers
        options = self.options = self.around.snapshot.options
        if self._leaving:
            self.reset(number, ErrorCodes.REFUSED_STREAM)
            return
        refused = self.bounds.opens(len(self.streams), options)
        if refused is not None:
            if refused == ErrorCodes.REFUSED_STREAM:
                self.reset(number, refused)
            else:
                self._fail(refused, now)
            return
        if not self.bounds.pays(fields, options):
            self._fail(ErrorCodes.ENHANCE_YOUR_CALM, now)
            return
        if options.keepalive_timeout <= 0 or self.around.closing or self.bounds.is_last(options):
            self._farewell(number)
        self._deadline = now + self._patience if self.stalled else inf
        self._admit(Http2Stream(self, number, event.stream_ended is not None), fields, now)

    def _admit(self, stream: Http2Stream, fields: FieldList, now: float) -> None:
        self.streams[stream.number] = stream
        self._concern(stream)
        try:
            head = request_head(self.around, fields, stream.body is None)
        except BadMessage as error:
            stream.refuse(refused_head(fields), error.status, str(error), now)
        else:
            stream.admit(head, now)

    def _take_data(self, event: DataReceived, now: float) -> None:
        counted = event.flow_controlled_length
        self.bounds.paid += len(event.data)
        stream = self.streams.get(event.stream_id)
        if stream is None:
            self.acknowledge(counted, event.stream_id)
            return
        self._concern(stream)
        stream.received(event.data, counted, event.stream_ended is not None, now)

    # --- what streams ask for -----------------------------------------------------------------------------------

    def acknowledge(self, size: int, number: int) -> None:
        """The client may send so many more bytes."""
        if not self._closing and not self.closed:
            self.frames.acknowledge_received_data(size, number)

    def reset(self, number: int, code: ErrorCodes) -> None:
        """Ends a stream."""
        if self._closing or self.closed:
            return
        with suppress(ProtocolError):  # it has ended already
            self.frames.reset_stream(number, code)

    def forget(self, stream: Http2Stream, now: float) -> None:
        """A stream is over."""
        self._now = max(now, self._now)
        self._concern(stream)
        self.blocked.pop(stream.number, None)
        if self.streams.pop(stream.number, None) is None or self.streams:
            return
        if self._leaving:
            self._end(self._now)
        else:
            self._rest(self._now)

    def told(self, event: str) -> dict[str, Any]:
        """What all records of this connection have."""
        return {"event": event, "client": self.name, "local": self.local}

    # --- what is said to the client -----------------------------------------------------------------------------

    def _concern(self, stream: Http2Stream) -> None:
        self._concerned[stream.number] = stream

    def _resume(self, now: float) -> None:
        """Sends what waits, of each stream a frame in turn."""
        going = list(self.blocked.values())
        while going and not self.stalled:
            going = [stream for stream in going if stream.step(now)]
        for stream in [one for one in self.blocked.values() if not one.pending]:
            del self.blocked[stream.number]
            self._concern(stream)
            stream.resume(now)

    def _rest(self, now: float) -> None:
        """Nothing is under way, but for requests."""
        if self.stalled:
            return
        if self._closing:
            self._deadline, self._until = now + LINGER, now + LINGER_MAX
        else:
            self._deadline = inf if self.streams else now + self.options.keepalive_timeout

    def _farewell(self, last: int | None = None) -> None:
        """Tells the client that no more requests are taken, after the `last` if others have come with it."""
        if not self._leaving and not self._closing and not self.closed:
            self._say(self.frames.goodbye(last=last))
        self._leaving = True

    def _say(self, frame: bytes) -> None:
        self._said += self.frames.data_to_send() + frame

    def _close(self) -> None:
        """Ends the connection once all that was said is out; for that the client has as long as for any answer."""
        if not self.closed:
            self.closed = True
            self._deadline = self._now + self._patience
            self.commands.append((CLOSE, None))

    def _fail(self, code: ErrorCodes, now: float) -> None:
        """Ends the connection for what the client did."""
        self._say(self.frames.goodbye(code))
        self._end(now)

    def _end(self, now: float) -> None:
        """Nothing of the connection goes on: what still comes is dropped, so that no reset overtakes our last word."""
        if self._closing or self.closed:
            return
        self._closing = self._leaving = True
        self._held = b""
        self._let_go(now)
        self._read(True)
        self._deadline = now + self._patience
        self._rest(now)
        self.commands.append((END, None))

    def _let_go(self, now: float) -> None:
        for stream in list(self.streams.values()):
            self._concern(stream)
            stream.left(now)
