"""Scripts of events for a client's connection over HTTP/2: a real client's end, and the machine, without a socket.

play = Http2Script(snapshot)
first = play.ask("/a")
play.stream(first).vacant() …: what happens at its upstream's side is told as to `scripted.Script`
play.answers[first].status
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from hyperframe.frame import Frame, GoAwayFrame
from scripted import CLIENT, DATE, LOCAL, NOW, SOURCE, Audience, Room, put_together

from emulab.servers.l7.engine.http2.connection import Http2Machine
from emulab.servers.l7.engine.surroundings import EngineSurroundings
from emulab.servers.l7.messages.response import UpstreamResponse

Head = list[tuple[str, str]]


@dataclass
class Answer:
    """What a client has of an answer."""

    head: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> str:
        return self.head.get(":status", "")


class Http2Script:
    """One client's connection, driven by hand."""

    def __init__(
        self,
        snapshot: Any,
        *,
        told: bool = False,
        lines: int = 0,
        window: int | None = None,
        acks: bool = True,
    ) -> None:
        """`window`: of each stream; `acks`: whether the client reads bodies, and says so."""
        self.now = 0.0
        self.around = EngineSurroundings(
            snapshot, Audience(told), lambda: DATE, lambda: b"f" * 32, Room(lines), lambda: NOW
        )
        self.machine = Http2Machine(self.around, "https", CLIENT, LOCAL)
        self.machine.begun(0.0, 0, None)
        self.client = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.answers: dict[int, Answer] = {}
        self.farewell: int | None = None
        self.last: int | None = None  # the last stream that it says is served
        self.commands: list[tuple[str, Any]] = []
        self.upstreams: dict[int, list[tuple[str, Any]]] = {}
        self.streams: dict[int, Any] = {}
        self._acks, self._raw = acks, False
        if window is not None:
            from h2.settings import SettingCodes

            self.client.local_settings = type(self.client.local_settings)(
                client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self.client.initiate_connection()
        self.sent()

    # --- the client's side --------------------------------------------------------------------------------------

    def sent(self) -> None:
        """What the client has said arrives."""
        self._arrived(self.client.data_to_send())

    def raw(self, data: bytes) -> None:
        """These bytes arrive, which the client's end knows nothing of: of what is answered a farewell alone counts."""
        self._raw = True
        self._arrived(data)

    def _arrived(self, data: bytes) -> None:
        self.machine.received(data, self.now)
        self.carry_out()

    def ask(
        self, path: str = "/", *fields: tuple[str, str], method: str = "GET", body: bytes | None = b""
    ) -> int:
        """Asks; `None` is a body that is to come. The stream's number."""
        number = self.client.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "h"), *fields]
        self.client.send_headers(number, head, end_stream=body == b"")
        if body:
            self.client.send_data(number, body, end_stream=True)
        self.answers[number] = Answer()
        self.sent()
        return number

    def body(self, number: int, data: bytes, last: bool = False) -> None:
        self.client.send_data(number, data, end_stream=last)
        self.sent()

    def _got(self, data: bytes) -> None:
        if self._raw:
            while data:
                frame, length = Frame.parse_frame_header(memoryview(data[:9]))
                if isinstance(frame, GoAwayFrame):
                    frame.parse_body(memoryview(data[9 : 9 + length]))
                    self.farewell, self.last = frame.error_code, frame.last_stream_id
                data = data[9 + length :]
            return
        for event in self.client.receive_data(data):
            answer = self.answers.get(getattr(event, "stream_id", 0) or 0, Answer())
            match event:
                case ResponseReceived():
                    answer.head = dict(event.headers)
                case DataReceived():
                    answer.body += event.data
                    if self._acks:
                        self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case TrailersReceived():
                    answer.trailers = dict(event.headers)
                case StreamEnded():
                    answer.ended = True
                case StreamReset():
                    answer.reset = int(event.error_code)
                case ConnectionTerminated():
                    self.farewell, self.last = int(event.error_code), event.last_stream_id

    # --- the shell ----------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Notes what is wanted, and has the client read what is sent, as long as there is anything."""
        while True:
            streams = self.machine.concerned()
            for stream in streams:
                self._stream(stream)
            data = self.machine.output()
            if data and self.farewell is None:
                self._got(data)
                if answer := self.client.data_to_send():
                    self.machine.received(answer, self.now)
            wanted, self.machine.commands = self.machine.commands, []
            self.commands += wanted
            for word, _ in wanted:
                if word == "settle":
                    self.machine.settle(self.now)
            if not streams and not data and not wanted:
                return

    def _stream(self, stream: Any) -> None:
        """What a stream wants of its client is done, and the rest noted."""
        self.streams[stream.number] = stream
        noted = self.upstreams.setdefault(stream.number, [])
        for last in (False, True):
            for word, value in stream.commands:
                if word == "send":
                    stream.write(value)
                elif word == "end":
                    stream.end()
                elif word == "close":
                    stream.cut(self.now)
                else:
                    noted.append((word, value))
            stream.commands.clear()
            if not last:
                stream.flush(self.now)

    def taken(self, number: int) -> list[tuple[str, Any]]:
        """What a stream has wanted since the last time."""
        return put_together(self.upstreams.pop(number, []))

    # --- the upstream's side ------------------------------------------------------------------------------------

    def exchange(self, number: int) -> Any:
        return self.streams[number].exchange

    def connected(self, number: int) -> bytes:
        """A stream's request goes to an upstream: what it gets."""
        self.exchange(number).vacant(self.now)
        data: bytes = self.exchange(number).connected(UpstreamResponse(), SOURCE, False, self.now)
        self._after(number)
        return data

    def upstream(self, number: int, *pieces: bytes) -> None:
        for piece in pieces:
            if out := self.exchange(number).answer(piece, self.now):
                self.streams[number].write(out)
            self._after(number)

    def event(self, number: int, name: str, *arguments: Any) -> None:
        """Another event at the upstream's side."""
        getattr(self.exchange(number), name)(*arguments, self.now)
        self._after(number)

    def _after(self, number: int) -> None:
        self._stream(self.streams[number])
        self.carry_out()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.machine.deadline <= self.now:
            self.machine.expired(self.now)
            self.carry_out()
