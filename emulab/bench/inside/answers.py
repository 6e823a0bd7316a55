"""Reads answers of HTTP/1.1 as they come, and keeps no more of them than where they end."""

from __future__ import annotations

END = b"\r\n\r\n"
_BODILESS = (204, 304)


class WireAnswer:
    """One answer. `done`: it is here whole; `last`: the connection ends with it."""

    __slots__ = ("_chunked", "_head", "_left", "_rest", "_until_close", "done", "last", "size", "status")

    def __init__(self) -> None:
        self.status = 0
        self.size = 0  # octets of all that came
        self.done = False
        self.last = False
        self._head = b""
        self._left = 0
        self._chunked = False
        self._until_close = False
        self._rest = b""

    def feed(self, data: bytes | memoryview) -> None:
        """Takes what came. Raises ValueError when it is no answer of HTTP/1.1."""
        self.size += len(data)
        if not self.status:
            self._head += data
            end = self._head.find(END)
            if end < 0:
                if len(self._head) > 1 << 16:
                    raise ValueError("a head without an end")
                return
            data = self._head[end + 4 :]
            self._read_head(self._head[:end])
            if not self.status:  # of 1xx: the answer proper follows
                self._head, self.size = b"", 0
                if data:
                    self.feed(data)
                return
        if self._chunked:
            self._chunks(bytes(data))
        elif not self._until_close:
            self._left -= len(data)
            self.done = self._left <= 0

    def ended(self) -> bool:
        """The connection has ended: whether the answer is whole."""
        if self._until_close and self.status:
            self.done = self.last = True
        return self.done

    def _read_head(self, head: bytes) -> None:
        line, _, rest = head.partition(b"\r\n")
        words = line.split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise ValueError("no answer of HTTP/1.1")
        status = int(words[1])
        if status < 200:
            return
        fields: dict[bytes, bytes] = {}
        for field in rest.lower().split(b"\r\n"):
            name, _, value = field.partition(b":")
            fields[name] = value.strip()
        self.last = b"close" in fields.get(b"connection", b"") or words[0] == b"HTTP/1.0"
        self._chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
        length = fields.get(b"content-length", b"")
        if not self._chunked and not length and status not in _BODILESS:
            self._until_close = self.last = True
        self._left = int(length) if length and not self._chunked else 0
        self.status = status

    def _chunks(self, data: bytes) -> None:
        """Passes over chunks (RFC 9112, 7.1); `_left` is what is still missing of the one that has begun."""
        self._rest += data
        while not self.done:
            if self._left:
                taken = min(self._left, len(self._rest))
                self._rest, self._left = self._rest[taken:], self._left - taken
                if self._left:
                    return
            line, end, rest = self._rest.partition(b"\r\n")
            if not end:
                return
            size = int(line.split(b";")[0] or b"0", 16)
            if size:
                self._rest, self._left = rest, size + 2
            elif b"\r\n" in rest:  # an empty line, or trailers that end with one
                self.done = rest.startswith(b"\r\n") or END in rest
                return
            else:
                return
