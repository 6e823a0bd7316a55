"""A WebSocket that echoes, sans-I/O (RFC 6455).

Each data frame goes back as it came, fragments included: a message is then the same message, and nothing
has to be kept until its end. Control frames may stand between fragments and are answered at once.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import struct

from emulab.servers.wire.http1.requests import Request
from emulab.servers.wire.http1.writing import head_bytes

FRAME_LIMIT = 16 * 2**20  # bytes of one frame's payload; more is refused with 1009

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def handshake(request: Request) -> bytes:
    """The answer that opens the WebSocket a request asks for."""
    key = request.first("Sec-Websocket-Key").encode("ascii", "replace")
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
    fields = [("Server", "emulab-echo"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    fields.append(("Sec-WebSocket-Accept", accept))
    # A browser that offers subprotocols hangs up when none is chosen, so the first is.
    offered = request.first("Sec-Websocket-Protocol").partition(",")[0].strip()
    if offered:
        fields.append(("Sec-WebSocket-Protocol", offered))
    return head_bytes("HTTP/1.1 101 Switching Protocols", fields)


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """One unmasked frame, as a server sends it."""
    first, size = opcode | (0x80 if fin else 0), len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def unmask(payload: bytes, mask: bytes) -> bytes:
    """The payload XORed with its repeated four-byte mask; masks and unmasks alike."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def goodbye(code: int) -> bytes:
    """A close frame with a status code of RFC 6455 §7.4.1."""
    return frame(_CLOSE, struct.pack("!H", code))


def websocket_problem(request: Request) -> int:
    """0 if the WebSocket handshake is right, else the status that refuses it."""
    if request.method != "GET" or request.proto != "HTTP/1.1":
        return 400
    if request.first("Sec-Websocket-Version") != "13":
        return 426
    try:
        key = base64.b64decode(request.first("Sec-Websocket-Key"), validate=True)
    except (binascii.Error, ValueError):
        return 400
    return 0 if len(key) == 16 else 400


class WebSocketEcho:
    """Feeds on a client's bytes and answers with what is to be sent back."""

    __slots__ = ("_buffer", "_message", "_text", "closed")

    def __init__(self) -> None:
        self.closed = False  # a close frame has been answered or sent: the connection is over
        self._buffer = bytearray()
        self._message = 0  # opcode of the message whose fragments are coming, 0 if none
        self._text = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: bytes) -> bytes:
        """The frames that answer the next bytes. Bytes after the close are ignored."""
        self._buffer += data
        out: list[bytes] = []
        while not self.closed:
            answered = self._step()
            if answered is None:
                break
            out.append(answered)
        if self.closed:
            self._buffer.clear()
        return b"".join(out)

    def goodbye(self) -> bytes:
        """What tells the client that the server ends."""
        return goodbye(1001)

    def _step(self) -> bytes | None:
        """The answer to the next frame; None if the buffer holds no whole one."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        fin, opcode, size, at = bool(buffer[0] & 0x80), buffer[0] & 0x0F, buffer[1] & 0x7F, 2
        if buffer[0] & 0x70 or not buffer[1] & 0x80:
            return self._fail(1002)  # no extension was agreed on; a client's frames are masked
        if opcode >= _CLOSE and (size > 125 or not fin):
            return self._fail(1002)
        if size >= 126:
            at += 2 if size == 126 else 8
            if len(buffer) < at:
                return None
            size = int.from_bytes(buffer[2:at], "big")
        if size > FRAME_LIMIT:
            return self._fail(1009)
        end = at + 4 + size
        if len(buffer) < end:
            return None
        payload = unmask(bytes(buffer[at + 4 : end]), bytes(buffer[at : at + 4]))
        del buffer[:end]
        if opcode >= _CLOSE:
            return self._control(opcode, payload)
        return self._data(opcode, payload, fin)

    def _control(self, opcode: int, payload: bytes) -> bytes:
        if opcode == _PING:
            return frame(_PONG, payload)
        if opcode == _PONG:
            return b""
        if opcode != _CLOSE:
            return self._fail(1002)
        if payload and not _good_close(payload):
            return self._fail(1002)
        self.closed = True
        return frame(_CLOSE, payload[:2])

    def _data(self, opcode: int, payload: bytes, fin: bool) -> bytes:
        if opcode == _CONTINUATION:
            if not self._message:
                return self._fail(1002)
        elif opcode not in (_TEXT, _BINARY) or self._message:
            return self._fail(1002)
        else:
            self._message = opcode
        if self._message == _TEXT:
            try:
                self._text.decode(payload, fin)
            except UnicodeDecodeError:
                return self._fail(1007)
        if fin:
            self._message = 0
        return frame(opcode, payload, fin)

    def _fail(self, code: int) -> bytes:
        self.closed = True
        return goodbye(code)


def _good_close(payload: bytes) -> bool:
    """Whether a close frame's payload has a code that may be sent, and a reason in UTF-8."""
    if len(payload) < 2:
        return False
    code = int.from_bytes(payload[:2], "big")
    if not (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) and not 3000 <= code <= 4999:
        return False
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return False
    return True
