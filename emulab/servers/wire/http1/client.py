"""One request and its response, for whoever asks by itself: probes, health checks, traces, comparisons, `Lab.request`.

Sans-I/O: bytes of the request out, bytes of the response in; the connection, its TLS and how long anybody waits are
the caller's.

Rules:

* Who answers may be any program, so heads are read as generously as curl and Go's net/http read them: lines may end
  in LF alone, and a line that begins with a blank goes on with the one before. Where a body ends is decided as
  strictly as everywhere (`framing`), but that a transfer coding goes before a length, and that one that isn't chunked
  ends with the connection (RFC 9112, section 6.3).
* Interim responses (1xx) are passed over, except a 101, with which HTTP ends.
* A head is bounded by `HEAD_MAX`. Bodies aren't kept here: who is fed may stop when it has had enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from emulab.errors import PeerError
from emulab.servers.wire.http1.framing import CHUNKED, UNTIL_CLOSE, Body, body_of, is_bodiless, parse_length
from emulab.servers.wire.http1.head import BadMessage, parse_status_line
from emulab.servers.wire.http1.writing import FieldPair, head_bytes

HEAD_MAX = 1 << 16  # http.client's bound of a line

_END = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))


class Unanswered(PeerError):
    """The connection ended before the first byte of a response."""

    def __init__(self) -> None:
        super().__init__("Remote end closed connection without response")


class CutShort(PeerError):
    """The connection ended within a response."""


def as_target(path: str) -> str:
    """A path with its query as a request line can have it: blanks and what isn't ASCII are percent-encoded."""
    return quote(path, safe=_AS_IT_IS)


def request_bytes(
    method: str, target: str, fields: Iterable[FieldPair], body: bytes = b"", version: str = "1.1"
) -> bytes:
    """The bytes of a request. Raises ValueError for what would be another request than it looks like."""
    if re.search(r"[\x00-\x20\x7f]", method + target):
        raise ValueError(f"a request can't be made of {method!r} and {target!r}")
    fields = list(fields)
    for name, value in fields:
        if not name or re.search(r"[\x00-\x20:\x7f]", name) or _CONTROL.search(value):
            raise ValueError(f"a header field can't be {name!r}: {value!r}")
    return head_bytes(f"{method} {target} HTTP/{version}", fields) + body


class ResponseReader:
    """Reads one response; `complete` says that all of it is there. What follows it is left alone."""

    __slots__ = ("_body", "_partial", "_to_head", "complete", "fields", "reason", "status")

    def __init__(self, to_head: bool = False) -> None:
        """`to_head`: the request was a HEAD."""
        self.status = 0  # 0 until the head is there
        self.reason = ""
        self.fields: list[FieldPair] = []  # in order, names as they came
        self.complete = False
        self._to_head = to_head
        self._partial = b""
        self._body: Body | None = None

    def feed(self, data: bytes) -> bytes:
        """Takes what the connection gave, b"" being its end, and returns the bytes of the body that are among it.

        Raises BadMessage, and Unanswered or CutShort where the connection ended and the response hasn't.
        """
        if not data:
            self._end()
            return b""
        while not self.status:
            data = self._partial + data
            end = _END.search(data)
            if (end.end() if end else len(data)) > HEAD_MAX:
                raise BadMessage(502, "the response's head is too large")
            if end is None:
                self._partial = data
                if first := _LINE_END.search(data):
                    _status(data[: first.start()])  # what is no HTTP is so at once
                return b""
            self._partial = b""
            self._take_head(data[: end.start()])
            data = data[end.end() :]
        if self.complete or self._body is None:
            return b"" if self.complete else data
        piece, _ = self._body.feed(data)
        self.complete = self._body.done
        return piece

    def _end(self) -> None:
        if self.complete:
            return
        if not self.status:
            raise CutShort("it ended within its head") if self._partial else Unanswered()
        if self._body is not None:
            left = self._body.remaining
            raise CutShort(f"it ended {f'{left} bytes before its end' if left else 'before its last chunk'}")
        self.complete = True

    def _take_head(self, data: bytes) -> None:
        start, *lines = _LINE_END.split(data)
        status, reason = _status(start)
        if status < 200 and status != 101:
            return
        self.status, self.reason = status, reason
        self.fields = list(_fields(lines))
        framing = 0 if is_bodiless(status, self._to_head) else self._framing()
        self._body = body_of(framing)
        self.complete = framing == 0

    def _framing(self) -> int:
        found = {name.lower(): value for name, value in reversed(self.fields)}
        coding, length = found.get("transfer-encoding"), found.get("content-length")
        if coding is not None:
            return CHUNKED if coding.lower() == "chunked" else UNTIL_CLOSE
        return UNTIL_CLOSE if length is None else parse_length(length.encode())


def _status(line: bytes) -> tuple[int, str]:
    try:
        status, reason, _ = parse_status_line(line)
    except BadMessage as error:
        raise BadMessage(error.status, f"{error}: {line[:80].decode('latin-1')!r}") from None
    return status, reason.decode("latin-1")


def _fields(lines: Iterable[bytes]) -> Iterable[FieldPair]:
    """Fields of a head; what is no field is passed over."""
    joined: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and joined:
            joined[-1] += b" " + line.strip()
        else:
            joined.append(line)
    for line in joined:
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            yield name.strip().decode("latin-1"), value.strip().decode("utf-8", "replace")
