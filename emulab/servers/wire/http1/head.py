"""Reads the head of an HTTP/1 message: its first line and its fields (RFC 9112, sections 2 to 5).

Errors are `BadMessage` with the status with which a server answers them. What is said of nginx is its
`ngx_http_parse.c`, which is the same in 1.22 and 1.26.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TypeVar

from emulab.errors import PeerError

T = TypeVar("T")

END = b"\r\n\r\n"
"""What ends a head."""


class BadMessage(PeerError):
    """A message that can't be taken; a server that was sent it answers `status` and ends the connection."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


MEMO_MAX = 2048
MEMO_LINE_MAX = 256

_FIELD = re.compile(rb"([^\x00-\x20\x7f:]+): *([^\x00\r\n]*)")
_REQUEST_LINE = re.compile(
    rb"([!#-'*+\-.0-9A-Z^-z|~]+) +([^\x00-\x20\x7f]+) +HTTP/([1-9][0-9]*)(.*)", re.DOTALL
)
_MINOR = re.compile(rb"\.([0-9]{1,3}) *")
_BEGUN_LINE = re.compile(rb"[!#-'*+\-.0-9A-Z^-z|~]+(?: [^\x00-\x1f\x7f]*)?\r?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]{1,3}) +([1-9][0-9]{2})(?:[ .]([^\x00\r\n]*))?")


class Memo(dict[bytes, T]):
    """What a pure function makes of a line, remembered, as most lines come again and again.

    Lines come from strangers, so there are at most `MEMO_MAX`; then all are forgotten, which is simple and rare.
    """

    def __init__(self, make: Callable[[bytes], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, line: bytes) -> T:
        made = self._make(line)
        if len(line) <= MEMO_LINE_MAX:
            if len(self) >= MEMO_MAX:
                self.clear()
            self[line] = made
        return made


def parse_field(line: bytes) -> tuple[bytes, bytes]:
    """Name and value of a field line, which is given without its CRLF.

    A bare CR or LF, a NUL, a folded line, a line without a colon or with a space before it are refused.
    """
    match = _FIELD.fullmatch(line)
    if match is None:
        raise BadMessage(400, "a header line is malformed")
    return match[1], match[2].rstrip(b" ")


_USUAL = {b"keep-alive": [b"keep-alive"], b"close": [b"close"]}


def tokens(value: bytes) -> list[bytes]:
    """The elements of a comma-separated field, lower case. The list is not the caller's to change."""
    if b"," not in value:
        return _USUAL.get(value) or [value.strip(b" \t").lower()]
    return [token.strip(b" \t").lower() for token in value.split(b",")]


def keeps_alive(options: Collection[bytes], old: bool) -> bool:
    """Whether a connection outlives a message, by the elements of its Connection field (RFC 9112, section 9.3).

    `old`: HTTP/1.0, which is all that decides where there is no such field.
    """
    if b"close" in options:
        return False
    return not old or b"keep-alive" in options


def parse_request_line(line: bytes) -> tuple[bytes, bytes, bool]:
    """Method, target and whether the version is HTTP/1.0; a minor version above 1 is as 1 (RFC 9110, section 2.5).

    Several spaces count as one, as for nginx (RFC 9112, section 3, allows it).
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadMessage(400, "the request line is malformed")
    method, target, major, rest = match.groups()
    if rest == b".1" and major == b"1":
        return method, target, False
    if major != b"1" and target != b"*":  # `PRI *`, HTTP/2's preface, isn't even well-formed to nginx
        raise BadMessage(505, "unknown version of HTTP")
    minor = _MINOR.fullmatch(rest)
    if minor is None or major != b"1":
        raise BadMessage(400, "the request line is malformed")
    return method, target, int(minor[1]) == 0


def parse_status_line(line: bytes) -> tuple[int, bytes, bool]:
    """Status, reason phrase and whether the version is HTTP/1.0. A status has three digits and begins with no 0."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise BadMessage(502, "the status line is malformed")
    return int(match[2]), match[3] or b"", int(match[1]) == 0


def check_begun_request(begun: bytes, checked: int) -> int:
    """Refuses the beginning of a request's head that no continuation can mend, at once, as nginx does.

    `checked` is what this function returned for a shorter beginning, 0 at first: how much is known to be good.
    """
    if not checked:
        end = begun.find(b"\r\n")
        if end >= 0:
            parse_request_line(begun[:end])
            checked = end + 2
        elif _BEGUN_LINE.fullmatch(begun) is None:
            raise BadMessage(400, "the request line is malformed")
    return _check_begun_fields(begun, checked)


def check_begun_response(begun: bytes, checked: int) -> int:
    """What `check_begun_request` does, for a response's head."""
    if not checked:
        end = begun.find(b"\r\n")
        if end >= 0:
            parse_status_line(begun[:end])
            checked = end + 2
        elif not begun.startswith(b"HTTP/1.") and not b"HTTP/1.".startswith(begun):
            raise BadMessage(502, "the status line is malformed")
    return _check_begun_fields(begun, checked)


def _check_begun_fields(begun: bytes, checked: int) -> int:
    end = begun.rfind(b"\r\n") + 2
    if end > checked > 0:
        for line in begun[checked : end - 2].split(b"\r\n"):
            parse_field(line)
        checked = end
    if b"\n" in begun[checked:]:
        raise BadMessage(400, "a line does not end in CRLF")
    return checked
