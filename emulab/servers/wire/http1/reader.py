"""Reads the heads of requests, whoever is asked. Sans-I/O.

There is one reader; what makes of servers differ in is its `Dialect`: how large a head may be, and what a head says.
Where a body ends is told by `framing`; whoever reads heads feeds the body first, and then the next head.

Rules:

* Where a dialect takes lines that end in LF alone, a head that has some is read again with CRLF in their place; one
  that hasn't never pays for it.
* Empty lines before a request are no request (RFC 9112, section 2.2).
* A beginning that no continuation can mend is refused at once, and of what is too large a mistake at the beginning
  outranks the size.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from emulab.servers.wire.http1.head import END, BadMessage, check_begun_request

Head = TypeVar("Head")


class Remembered(Protocol[Head]):
    """What was made of whole heads that came alone, by their bytes."""

    def get(self, data: bytes, /) -> Head | None: ...
    def keep(self, data: bytes, head: Head) -> None: ...


class Dialect(NamedTuple, Generic[Head]):
    """What one make of server takes for the head of a request."""

    room: int
    """Bytes, empty lines before the head and whatever follows it included, that surely fit: no need to ask `excess`."""
    excess: Callable[[bytes, int], int]
    """What has come of a head, and how many bytes of empty lines came before it → the status that refuses it as too
    large, or 0. The head ends in `END` once it is whole."""
    judged: int
    """Bytes at the beginning of one that is too large in which a mistake outranks its size."""
    parse: Callable[[bytes], Head]
    """A head without `END` → what is in it. Raises `BadMessage`."""
    bare: bool = False
    """Whether an LF alone ends a line, too (RFC 9112, section 2.2, allows it)."""
    known: Remembered[Head] | None = None
    """Heads that needn't be read again, where that is worth it."""


_BARE = re.compile(rb"(?<!\r)\n")
_EMPTY_LINE = re.compile(rb"\n\r?\n")


def with_whole_ends(data: bytes) -> bytes | None:
    """What has come of a head, or a head and what follows it, with CRLF for the LFs alone in it; None where none is."""
    end = _EMPTY_LINE.search(data)
    head = data if end is None else data[: end.end()]
    return _BARE.sub(b"\r\n", head) + data[len(head) :] if _BARE.search(head) is not None else None


class HeadReader(Generic[Head]):
    """Turns bytes into heads, one at a time; `rest` holds what follows the head."""

    __slots__ = ("_blank", "_checked", "_dialect", "_known", "_room", "partial", "rest")

    def __init__(self, dialect: Dialect[Head]) -> None:
        self._dialect = dialect
        self._room = dialect.room
        self._known = dialect.known
        self.rest = b""
        self.partial = b""  # what has come of a head
        self._checked = 0  # how much of it is known to be good
        self._blank = 0  # bytes of empty lines before it

    @property
    def bare(self) -> bool:
        """Whether an LF alone ends a line, too."""
        return self._dialect.bare

    @property
    def to_head(self) -> bool:
        """Of what `feed` refused: whether it was a HEAD, whose answer has no body."""
        return self.partial.startswith(b"HEAD ")

    def feed(self, data: bytes) -> Head | None:
        """The head that `data` completes, or None. Raises `BadMessage`."""
        known = self._known
        if known is not None and not self.partial and not self._blank:
            if (head := known.get(data)) is not None:
                self.rest = b""
                return head
            if (head := self._read(data)) is not None and not self.rest:
                known.keep(data, head)
            return head
        return self._read(data)

    def _read(self, data: bytes) -> Head | None:
        if self.partial:
            known = len(self.partial)
            data = self.partial + data
            end = data.find(END, max(0, known - 3))
        else:
            if data[:1] in (b"\r", b"\n"):
                size = len(data)
                data = data.lstrip(b"\r\n")
                self._blank += size - len(data)
            end = data.find(END)
        if len(data) + self._blank > self._room:
            self.partial = data
            self._check_size(data[: end + 4] if end >= 0 else data)
        if end < 0 and self._dialect.bare and (mended := with_whole_ends(data)) is not None:
            data, end = mended, mended.find(END)
        self.partial = data
        if end < 0:
            if data:
                self._checked = check_begun_request(data, self._checked)
            return None
        try:
            head = self._dialect.parse(data[:end])
        except BadMessage:
            mended = with_whole_ends(data) if self._dialect.bare else None
            if mended is None:
                raise
            data, end = mended, mended.find(END)
            head = self._dialect.parse(data[:end])
        self.partial = b""
        self._checked = self._blank = 0
        self.rest = data[end + 4 :]
        return head

    def _check_size(self, begun: bytes) -> None:
        dialect = self._dialect
        status = dialect.excess(begun, self._blank)
        if not status:
            return
        if begun:
            check_begun_request(begun[: dialect.judged], 0)
        raise BadMessage(status, "the request's head is too large")
