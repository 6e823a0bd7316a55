"""Frames out of bytes: the library's buffer, with the right word for what isn't a frame.

The library has one error, and so the end of the connection, for whatever a frame must not say. Two frames are judged
otherwise by RFC 9113:

* An acknowledgement of settings with a payload is a FRAME_SIZE_ERROR (section 6.5).
* A window of one stream that is opened by nought is the end of that stream alone (section 6.9). The frame is handed on
  as it is, and whoever knows the stream resets it.
"""

from __future__ import annotations

from h2.exceptions import FrameDataMissingError, ProtocolError
from h2.frame_buffer import FrameBuffer
from hyperframe.exceptions import InvalidDataError
from hyperframe.frame import Frame, WindowUpdateFrame

FRAME_HEAD = 9
_SETTINGS, _WINDOW_UPDATE = 4, 8
_ACK = 1


class Frames(FrameBuffer):
    """What has come of a connection and is no whole frame yet; it is iterated over for the frames."""

    def __next__(self) -> Frame:
        try:
            return super().__next__()
        except ProtocolError as error:
            if not isinstance(error.__cause__, InvalidDataError):
                raise
            return self._other_view(error)

    def _other_view(self, error: ProtocolError) -> Frame:
        """What a frame is that the library refuses; it is still the first in the buffer."""
        data, size = self._data, int.from_bytes(self._data[:3], "big")
        kind, flags = data[3], data[4]
        stream = int.from_bytes(data[5:FRAME_HEAD], "big") & 0x7FFFFFFF
        if kind == _SETTINGS and flags & _ACK and not stream and size:
            raise FrameDataMissingError(str(error)) from error
        if kind == _WINDOW_UPDATE and stream and size == 4 and not self._headers_buffer:
            del data[: FRAME_HEAD + size]
            return WindowUpdateFrame(stream)
        raise error
