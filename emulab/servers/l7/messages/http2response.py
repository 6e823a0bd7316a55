"""One request at a time over HTTP/2, for whoever speaks HTTP/1: what it writes is translated, and so are answers.

nginx, too, sends one request at a time over a connection to a gRPC server (`ngx_http_grpc_module`), and keeps the
connection for the next. So a connection is owned and kept as one of HTTP/1 is, and a reader that isn't read from stops
the server by TCP alone. A request's body waits here for the server's window; `blocked` says that some of it does.
"""

from __future__ import annotations

from http import HTTPStatus

from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from emulab.errors import PeerError
from emulab.servers.l7.messages.headers import CODING, FIRST, LENGTH, PASS
from emulab.servers.l7.messages.response import ResponseFields, ResponseHead, UpstreamResponse
from emulab.servers.wire.http1.framing import UNTIL_CLOSE, Body, ChunkedBody, LengthBody, parse_length
from emulab.servers.wire.http1.head import END
from emulab.servers.wire.http2.fields import FieldList, fields_of, size
from emulab.servers.wire.http2.frames import ClientEnd

_PHRASES = {one.value: one.phrase.encode() for one in HTTPStatus}
_TRAILERS = (b"te", b"trailers")
"""What every request of gRPC says (its specification of the protocol over HTTP/2)."""


class Http2Response(UpstreamResponse):
    """Both sides of one connection to a server of HTTP/2, for requests one after the other."""

    __slots__ = ("_end", "_leaving", "_pending", "_request", "_scheme", "_stream", "_whole", "trailers")

    def __init__(self, scheme: str) -> None:
        self._end = ClientEnd()
        self._scheme = scheme.encode()
        self._leaving = False  # whether the server takes no more requests
        self._stream = 0

    # --- the request --------------------------------------------------------------------------------------------

    def begin(self, to_head: bool, fields: ResponseFields) -> None:
        """See `UpstreamResponse`."""
        super().begin(to_head, fields)
        self.trailers, self.lines = [], []
        self._stream = 0
        self._pending, self._whole = b"", False
        self._request: Body | None = None  # what of the request's body hasn't come

    def write(self, data: bytes) -> None:
        """Takes what HTTP/1.1 would send: the head first, as a whole."""
        if not self._stream:
            head, _, data = data.partition(END)
            self._open(head)
        if (body := self._request) is not None and data:
            piece, _ = body.feed(data)
            self._whole = body.done
            self._pending += piece
            self._flush()

    def _open(self, head: bytes) -> None:
        start, *lines = head.split(b"\r\n")
        method, target, _ = start.split(b" ")
        pseudo: FieldList = [(b":method", method), (b":path", target), (b":scheme", self._scheme)]
        fields: FieldList = []
        for line, field in zip(lines, fields_of(lines, True), strict=True):
            name, value = field
            if name == b"host":
                pseudo.append((b":authority", value))
            elif name == b"content-length":
                self._request = LengthBody(int(value)) if int(value) else None
                fields.append(field)
            elif name == b"transfer-encoding":
                self._request = ChunkedBody()
            elif name not in (b"connection", b"upgrade") and line:
                fields.append(field)
        self._stream = self._end.get_next_available_stream_id()
        self._end.send_headers(self._stream, [*pseudo, *fields, _TRAILERS], self._request is None)

    def _flush(self) -> None:
        """Sends of the body what the server has a window for."""
        end, stream = self._end, self._stream
        while self._pending or self._whole:
            room = min(end.local_flow_control_window(stream), end.max_outbound_frame_size)
            if self._pending and room <= 0:
                return
            piece, self._pending = self._pending[:room], self._pending[room:]
            last = self._whole and not self._pending
            end.send_data(stream, piece, last)
            if last:
                self._request, self._whole = None, False

    @property
    def blocked(self) -> bool:
        """Whether the server has to open a window before more can be sent."""
        return bool(self._pending)

    def output(self) -> bytes:
        """The bytes that are to be sent now."""
        data: bytes = self._end.data_to_send()
        return data

    # --- the answer ---------------------------------------------------------------------------------------------

    @property
    def reusable(self) -> bool:
        """See `UpstreamResponse`."""
        return self.complete and self._request is None and not self._leaving

    def feed(self, data: bytes, head_max: int) -> None:
        """See `UpstreamResponse`."""
        try:
            for event in self._end.receive_data(data):
                self._take(event, head_max)
        except ProtocolError as error:
            raise PeerError(str(error)) from None

    def _take(self, event: Event, head_max: int) -> None:
        match event:
            case ResponseReceived():
                self._take_fields(event.headers, head_max)
            case DataReceived():
                self._end.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.data:
                    self.pieces.append(event.data)
            case TrailersReceived():
                self.trailers = [
                    line
                    for action, _, line in self._known(event.headers)
                    if action == PASS or action >= FIRST
                ]
            case StreamEnded():
                self.complete = True
            case StreamReset():
                self._leaving = True
                if not self.complete:
                    raise PeerError(f"it reset the stream with error {int(event.error_code)}")
            case ConnectionTerminated():
                self._leaving = True
                if (event.last_stream_id or 0) < self._stream:
                    raise PeerError(f"it ended the connection with error {int(event.error_code or 0)}")
            case WindowUpdated() | RemoteSettingsChanged():
                if self._stream and not self.complete:
                    self._flush()

    def _known(self, fields: FieldList) -> list[tuple[int, bytes, bytes]]:
        known = self._fields
        return [known[b"%b: %b" % field] for field in fields if not field[0].startswith(b":")]

    def _take_fields(self, fields: FieldList, head_max: int) -> None:
        if size(fields) > head_max:
            raise PeerError("the response's head is too large")
        text = dict(fields).get(b":status", b"")
        if not text.isdigit() or len(text) != 3:
            raise PeerError("the status is malformed")
        self.status = int(text)
        reason = _PHRASES.get(self.status, b"")
        self.framing, seen = UNTIL_CLOSE, 0
        for action, value, line in self._known(fields):
            if action == PASS or (action >= FIRST and not seen & action):
                seen |= action if action >= FIRST else 0
                self.lines.append(line)
            elif action == LENGTH:
                self.framing = parse_length(value)
            elif action == CODING:
                raise PeerError("Transfer-Encoding in HTTP/2")
        self.bodiless = self._to_head or self.status in (204, 304)
        start = b"HTTP/1.1 %b %b\r\n" % (text, reason)
        self.head = ResponseHead(self.status, reason, start, self.lines, self.framing)
        self.head_done = True

    def eof(self) -> bool:
        """See `UpstreamResponse`: here no answer ends so."""
        return self.complete
