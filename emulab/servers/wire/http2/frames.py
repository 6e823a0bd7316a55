"""The two ends of a connection of HTTP/2: the library's, corrected where it isn't what a proxy needs.

* A client's GOAWAY ends the connection for the library, which then refuses to send what is still owed. It only says
  that the client takes no more streams from us, who begin none (RFC 9113, section 6.8).
* A body that isn't as long as Content-Length says ends the connection for the library. It is one request that is
  malformed (section 8.1.1), which whoever serves it finds.
* A stream above the limit ends the connection for the library. It is one stream that is refused (section 5.1.2), which
  whoever serves it does.
* Sending a GOAWAY ends everything for the library, too: `goodbye` is a frame and nothing more.
* A block of fields that can't be decoded is a PROTOCOL_ERROR for the library. It is a COMPRESSION_ERROR (section 4.3).
* A stream that depends on itself ends the connection for the library. It is the end of that stream (RFC 7540, section
  5.3.1); that RFC 9113 knows no dependencies any more doesn't make it worse.
* What no frame may say ends the connection for the library: see `buffer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event, StreamReset
from h2.exceptions import FrameTooLargeError, ProtocolError
from h2.settings import SettingCodes, Settings
from hpack.exceptions import HPACKError
from hyperframe.frame import (
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PriorityFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)

from emulab.servers.wire.http2.buffer import FRAME_HEAD, Frames

if TYPE_CHECKING:
    from h2._typing import Buffer
    from h2.connection import AllowedStreamIDs
    from h2.stream import H2Stream

LIST_MAX = 1 << 16
"""Bytes of a list of fields, with 32 for each: beyond that a header bomb isn't even decoded (RFC 7541, section 7.1)."""
TABLE = 4096
"""Bytes of fields that are remembered for a client at most, whatever it offers: each is looked at for each field."""
WINDOW = 1 << 16
"""Bytes of a stream that we take before we say that there is room for more (nginx: `http2_body_preread_size`)."""
_WHOLE = (1 << 31) - 1


def _leave(_headers: object) -> None:
    """Takes no note of Content-Length."""


class CompressionError(ProtocolError):
    """A block of fields can't be decoded, nor can any that comes after it."""

    error_code = ErrorCodes.COMPRESSION_ERROR


class _End(H2Connection):
    """One end of a connection."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.incoming_buffer = Frames(server=not config.client_side)

    def _receive_frame(self, frame: Frame) -> list[Event]:
        try:
            return super()._receive_frame(frame)
        except ProtocolError as error:
            if isinstance(error.__cause__, HPACKError) and error.error_code == ErrorCodes.PROTOCOL_ERROR:
                raise CompressionError(str(error)) from error
            raise

    def _receive_priority_frame(self, frame: HeadersFrame | PriorityFrame) -> tuple[list[Frame], list[Event]]:
        itself = frame.depends_on == frame.stream_id
        if itself:
            frame.depends_on = 0
        frames, events = super()._receive_priority_frame(frame)
        if itself and isinstance(frame, PriorityFrame):
            return self._reset_of(frame.stream_id), [*events, self._told_reset(frame.stream_id)]
        return frames, events

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        itself = "PRIORITY" in frame.flags and frame.depends_on == frame.stream_id
        frames, events = super()._receive_headers_frame(frame)
        if itself:
            return self._reset_of(frame.stream_id), [self._told_reset(frame.stream_id)]
        return frames, events

    def _reset_of(self, number: int) -> list[Frame]:
        """Ends a stream for what the other side says of it; one that isn't there is told of, too, as nginx does it."""
        try:
            frames: list[Frame] = self._get_stream_by_id(number).reset_stream(ErrorCodes.PROTOCOL_ERROR)
        except ProtocolError:
            frames = [RstStreamFrame(number, error_code=int(ErrorCodes.PROTOCOL_ERROR))]
        return frames

    def _told_reset(self, number: int) -> StreamReset:
        return StreamReset(stream_id=number, error_code=ErrorCodes.PROTOCOL_ERROR, remote_reset=False)

    def _receive_window_update_frame(self, frame: WindowUpdateFrame) -> tuple[list[Frame], list[Event]]:
        frames, events = super()._receive_window_update_frame(frame)
        if frame.window_increment or not events:
            return frames, events
        return self._reset_of(frame.stream_id), [self._told_reset(frame.stream_id)]

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        event = ConnectionTerminated()
        event.error_code, event.last_stream_id = frame.error_code, frame.last_stream_id
        return [], [event]

    def _acknowledge_settings(self) -> list[Frame]:
        frames = super()._acknowledge_settings()
        if self.encoder.header_table_size > TABLE:
            self.encoder.header_table_size = TABLE
        return frames

    def receive_data(self, data: Buffer) -> list[Event]:
        """What arrives. The library has whole frames in its memory before it looks at their size; here it doesn't."""
        events = super().receive_data(data)
        if len(self.incoming_buffer._data) > self.max_inbound_frame_size + FRAME_HEAD:
            self._terminate_connection(ErrorCodes.FRAME_SIZE_ERROR)
            raise FrameTooLargeError("a frame is too large")
        return events

    def begin(self, initial: dict[SettingCodes, int]) -> None:
        """Says what holds for this connection, and that its window is as large as one can be."""
        self.local_settings = Settings(client=self.config.client_side, initial_values=initial)
        self.decoder.max_header_list_size = LIST_MAX
        self.initiate_connection()
        self.increment_flow_control_window(_WHOLE - 65535)


class ClientEnd(_End):
    """The client's end. What it is told is judged by the library, what it says isn't."""

    def __init__(self) -> None:
        super().__init__(
            H2Configuration(
                header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.begin({SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: _WHOLE})


class ServerEnd(_End):
    """The server's end, whose headers and bodies are bytes and aren't judged."""

    def __init__(self, streams: int) -> None:
        """`streams` is what the client is told that it may open at once."""
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.begin({SettingCodes.MAX_CONCURRENT_STREAMS: streams, SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        stream._initialize_content_length = _leave  # type: ignore[method-assign, assignment]
        return stream

    @property
    def open_inbound_streams(self) -> int:
        """None, for the library's own limit: it would count all of them for each."""
        return 0

    def forget_closed(self) -> None:
        """Forgets streams that are closed, which the library does when it counts."""
        self._open_streams(1)

    def goodbye(self, code: ErrorCodes | int = 0, last: int | None = None) -> bytes:
        """A frame that says that no more streams are served than those that there are, or up to the `last`."""
        number = self.highest_inbound_stream_id if last is None else last
        frame = GoAwayFrame(0, last_stream_id=number, error_code=int(code))
        return frame.serialize()
