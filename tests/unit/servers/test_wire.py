"""Heads and framing, as all servers read and write them."""

from __future__ import annotations

import pytest

from emulab.servers.wire.http1.framing import (
    CHUNKED,
    SIZE_MAX,
    UNFRAMED,
    UNTIL_CLOSE,
    ChunkedBody,
    framing_line,
    is_bodiless,
    request_framing,
    response_framing,
)
from emulab.servers.wire.http1.head import (
    MEMO_LINE_MAX,
    MEMO_MAX,
    BadMessage,
    Memo,
    check_begun_request,
    check_begun_response,
    parse_field,
    parse_request_line,
    parse_status_line,
)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b"GET / HTTP/1.1", (b"GET", b"/", False)),
        (b"GET / HTTP/1.0", (b"GET", b"/", True)),
        (b"GET / HTTP/1.2", (b"GET", b"/", False)),
        (b"GET / HTTP/1.10", (b"GET", b"/", False)),
        (b"GET / HTTP/1.00", (b"GET", b"/", True)),
        (b"FOO /a HTTP/1.1", (b"FOO", b"/a", False)),
        (b"GET_X  /a   HTTP/1.1  ", (b"GET_X", b"/a", False)),
        (b"M-SEARCH * HTTP/1.1", (b"M-SEARCH", b"*", False)),
        (b"GET /\xff\x80?\xe9#\x9f HTTP/1.1", (b"GET", b"/\xff\x80?\xe9#\x9f", False)),
    ],
)
def test_request_lines(line: bytes, read: tuple[bytes, bytes, bool]) -> None:
    assert parse_request_line(line) == read


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/2", 505),
        (b"GET / HTTP/11.0", 505),
        (b"PRI * HTTP/2.0", 400),
        (b"GET / HTTP/0.9", 400),
        (b"GET / HTTP/01.1", 400),
        (b"GET / HTTP/1", 400),
        (b"GET / HTTP/1.", 400),
        (b"GET / HTTP/1.1000", 400),
        (b"GET / HTTP/1.1.1", 400),
        (b"GET / RTSP/1.0", 400),
        (b"GET / http/1.1", 400),
        (b"GET /", 400),
        (b"GET / ", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b" GET / HTTP/1.1", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r", 400),
        (b"GET / HTTP/1.1\nX: 1", 400),
        (b"", 400),
    ],
)
def test_request_lines_that_are_refused(line: bytes, status: int) -> None:
    with pytest.raises(BadMessage) as refused:
        parse_request_line(line)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b"HTTP/1.1 200 OK", (200, b"OK", False)),
        (b"HTTP/1.0 404", (404, b"", True)),
        (b"HTTP/1.1 999 W\xefrd", (999, b"W\xefrd", False)),
        (b"HTTP/1.1  403.1 IIS", (403, b"1 IIS", False)),
    ],
)
def test_status_lines(line: bytes, read: tuple[int, bytes, bool]) -> None:
    assert parse_status_line(line) == read


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 099 Early",
        b"HTTP/1.1 99 Early",
        b"HTTP/1.1 0200 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 -20 OK",
        b"HTTP/1.1 OK",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"ICY 200 OK",
    ],
)
def test_status_lines_that_are_refused(line: bytes) -> None:
    with pytest.raises(BadMessage) as refused:
        parse_status_line(line)
    assert refused.value.status == 502


def test_fields() -> None:
    assert parse_field(b"A:b") == (b"A", b"b")
    assert parse_field(b"A:   b c  ") == (b"A", b"b c")
    assert parse_field(b"A:") == (b"A", b"")
    assert parse_field(b"A_(b): \xff:\t1") == (b"A_(b)", b"\xff:\t1")


FIELDS = [
    b"A : b",
    b" A: b",
    b"\tA: b",
    b"A",
    b"",
    b": b",
    b"A: b\r",
    b"A: b\nC: d",
    b"A: \x00",
    b"A\x00: b",
    b"A\x7f:",
]


@pytest.mark.parametrize("line", FIELDS)
def test_fields_that_are_refused(line: bytes) -> None:
    with pytest.raises(BadMessage):
        parse_field(line)


@pytest.mark.parametrize("line", FIELDS[:4] + FIELDS[5:])
@pytest.mark.parametrize(
    ("first", "check"),
    [(b"GET / HTTP/1.1\r\n", check_begun_request), (b"HTTP/1.1 200 OK\r\n", check_begun_response)],
)
def test_a_beginning_is_refused_as_soon_as_a_line_is(first: bytes, check: object, line: bytes) -> None:
    """Without waiting for the rest; and not before: each shorter beginning of good lines passes."""
    assert callable(check)
    good = first + b"X: 1\r\n"
    checked = 0
    for end in range(1, len(good) + 1):
        checked = check(good[:end], checked)
    with pytest.raises(BadMessage):
        check(good + line + b"\r\n", checked)


@pytest.mark.parametrize(
    "begun", [b"\x16\x03\x01", b"GET\n", b"GET / HTTP/1.1\n", b"GET /\r\n", b" GET", b"G\x00"]
)
def test_requests_that_begin_wrong(begun: bytes) -> None:
    with pytest.raises(BadMessage):
        check_begun_request(begun, 0)


@pytest.mark.parametrize("begun", [b"SSH", b"HTTP/2", b"HTTP/1.1 20\n", b"HTTP/1.1 OK\r\n"])
def test_responses_that_begin_wrong(begun: bytes) -> None:
    with pytest.raises(BadMessage):
        check_begun_response(begun, 0)


@pytest.mark.parametrize(
    ("length", "coding", "framing"),
    [
        (None, None, UNFRAMED),
        (b"0", None, 0),
        (b"00012", None, 12),
        (b"0" * 5000 + b"7", None, 7),
        (b"9223372036854775807", None, SIZE_MAX),
        (None, b"chunked", CHUNKED),
        (None, b"CHUNKED", CHUNKED),
    ],
)
def test_framing_of_requests(length: bytes | None, coding: bytes | None, framing: int) -> None:
    assert request_framing(length, coding, False) == framing


@pytest.mark.parametrize(
    ("length", "coding", "old", "status"),
    [
        (b"", None, False, 400),
        (b"-1", None, False, 400),
        (b"+1", None, False, 400),
        (b"0x1", None, False, 400),
        (b"1 2", None, False, 400),
        (b"1,1", None, False, 400),
        (b"\t1", None, False, 400),
        (b"\xb2", None, False, 400),
        (b"9223372036854775808", None, False, 400),
        (b"9" * 5000, None, False, 400),
        (b"1", b"chunked", False, 400),
        (None, b"chunked", True, 400),
        (None, b"identity", False, 501),
        (None, b"gzip, chunked", False, 501),
        (None, b"chunked, chunked", False, 501),
        (None, b"chunked;q=1", False, 501),
        (None, b"\x0bchunked", False, 501),
        (None, b"", False, 501),
    ],
)
def test_framing_of_requests_that_is_refused(
    length: bytes | None, coding: bytes | None, old: bool, status: int
) -> None:
    with pytest.raises(BadMessage) as refused:
        request_framing(length, coding, old)
    assert refused.value.status == status


def test_framing_of_responses() -> None:
    assert response_framing(None, None) == UNTIL_CLOSE
    assert response_framing(b"3", None) == 3
    assert response_framing(None, b"Chunked") == CHUNKED
    for length, coding in ((b"3", b"chunked"), (b"x", None), (None, b"gzip"), (None, b"identity")):
        with pytest.raises(BadMessage):
            response_framing(length, coding)
    assert [is_bodiless(status, False) for status in (100, 199, 200, 204, 205, 304, 404)] == [
        *(True, True, False, True, False, True, False)
    ]
    assert is_bodiless(200, True)


def test_a_framing_is_written() -> None:
    assert framing_line(0) == b"Content-Length: 0\r\n"
    assert framing_line(12) == b"Content-Length: 12\r\n"
    assert framing_line(CHUNKED) == b"Transfer-Encoding: chunked\r\n"
    assert framing_line(UNTIL_CLOSE) == framing_line(UNFRAMED) == b""


def test_sizes_beyond_any_file() -> None:
    body = ChunkedBody()
    body.feed(b"7ffffffffffffffa\r\n")
    with pytest.raises(BadMessage):
        ChunkedBody().feed(b"7ffffffffffffffb\r\n")
    with pytest.raises(BadMessage) as refused:
        ChunkedBody().feed(b"0\r\n" + b"T: 0123456789\r\n" * 5000)
    assert refused.value.status == 431


@pytest.mark.parametrize("begun", [b"G", b"5z", b"12345678901234567", b" 5", b"5;\x00"])
def test_a_chunk_size_that_begins_wrong(begun: bytes) -> None:
    with pytest.raises(BadMessage):
        ChunkedBody().feed(begun)


def test_memories_are_bounded() -> None:
    made: list[bytes] = []
    memo = Memo(lambda line: made.append(line) or line)
    assert memo[b"a"] is memo[b"a"] and made == [b"a"]
    for n in range(MEMO_MAX + 100):
        memo[b"%d" % n]
    assert len(memo) <= MEMO_MAX
    long = b"x" * (MEMO_LINE_MAX + 1)
    memo[long]
    assert long not in memo
