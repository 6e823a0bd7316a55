"""The small client: what it writes, and what it makes of whatever answers."""

from __future__ import annotations

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from emulab.errors import PeerError
from emulab.servers.wire.http1.client import (
    HEAD_MAX,
    CutShort,
    ResponseReader,
    Unanswered,
    as_target,
    request_bytes,
)
from emulab.servers.wire.http1.head import BadMessage

OK = b"HTTP/1.1 200 OK\r\n"


def read(data: bytes, to_head: bool = False, pieces: int = 0) -> tuple[ResponseReader, bytes]:
    """What is read of a connection that carries these bytes and ends, in so many bytes at a time."""
    reader = ResponseReader(to_head)
    size = pieces or max(1, len(data))
    body = b"".join(reader.feed(data[at : at + size]) for at in range(0, len(data), size))
    reader.feed(b"")
    return reader, body


def test_a_request() -> None:
    assert request_bytes("GET", "/a?b=c", [("Host", "x"), ("X-Name", "größe")]) == (
        b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Name: gr\xc3\xb6\xc3\x9fe\r\n\r\n"
    )
    assert request_bytes("POST", "/", [("Content-Length", "2")], b"hi", "1.0") == (
        b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi"
    )
    assert as_target("/a b/ü?q=%20&r='\"") == "/a%20b/%C3%BC?q=%20&r='\""


@pytest.mark.parametrize(
    ("method", "target", "field"),
    [
        ("GE T", "/", ("a", "b")),
        ("GET", "/ HTTP/1.1\r\nX: y", ("a", "b")),
        ("GET", "/", ("a\r\nb", "c")),
        ("GET", "/", ("a:", "c")),
        ("GET", "/", ("", "c")),
        ("GET", "/", ("a", "b\r\nc: d")),
    ],
)
def test_a_request_is_the_one_that_it_looks_like(method: str, target: str, field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="can't"):
        request_bytes(method, target, [field])


ANSWERS = {
    "a length": (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "chunks": (
        OK + b"Transfer-Encoding: Chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: r\r\n\r\n",
        b"hello",
    ),
    "until the end": (OK + b"\r\nhello", b"hello"),
    "no body": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "by its status": (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b""),
    "interim ones before": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"\r\nhi",
        b"hi",
    ),
    "what follows": (OK + b"Content-Length: 2\r\n\r\nhi" + OK, b"hi"),
    "lines that end in LF": (b"HTTP/1.0 200 OK\nContent-Length: 2\n\nhi", b"hi"),
    "both framings": (
        OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"a",
    ),
    "another coding": (OK + b"Content-Length: 9\r\nTransfer-Encoding: gzip\r\n\r\nabc", b"abc"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", b"a"),
}


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize("pieces", [0, 1, 7])
def test_a_response_has_a_body_by(case: str, pieces: int) -> None:
    data, body = ANSWERS[case]
    reader, found = read(data, pieces=pieces)
    assert (found, reader.complete) == (body, True) and reader.status in (200, 204)


def test_a_response_is_complete_when_it_says_so() -> None:
    reader = ResponseReader()
    assert reader.feed(OK + b"Content-Length: 3\r\n\r\nab") == b"ab" and not reader.complete
    assert reader.feed(b"cd") == b"c" and reader.complete
    assert reader.feed(b"more") == b""
    reader, _ = read(OK + b"Content-Length: 3\r\n\r\n", to_head=True)
    assert reader.complete
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nanything")
    assert reader.complete and reader.status == 101


def test_fields_are_read_as_generously_as_others_read_them() -> None:
    head = b"A: 1\r\nb:2  \r\nLong: one\r\n  two\r\n\tthree\r\nnonsense\r\nBlank : x\r\nA: \xc3\xbc\r\n\r\n"
    reader, _ = read(OK + head)
    assert reader.reason == "OK"
    assert reader.fields == [
        ("A", "1"), ("b", "2"), ("Long", "one two three"), ("Blank", "x"), ("A", "ü"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", Unanswered, "without response"),
        (b"HTTP/1.1 200 O", CutShort, "within its head"),
        (OK + b"A: b\r\n", CutShort, "within its head"),
        (OK + b"Content-Length: 5\r\n\r\nhe", CutShort, "3 bytes before its end"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe", CutShort, "3 bytes before"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", CutShort, "before its last chunk"),
        (b"220 smtp ready\r\n", BadMessage, "220 smtp ready"),
        (b"HTTP/2 200 OK\r\n\r\n", BadMessage, "status line"),
        (b"HTTP/1.1 20 OK\r\n\r\n", BadMessage, "status line"),
        (OK + b"Content-Length: -1\r\n\r\n", BadMessage, "Content-Length"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", BadMessage, "chunk size"),
        (OK + b"A: " + b"b" * HEAD_MAX, BadMessage, "too large"),
    ],
)
def test_what_is_no_response(data: bytes, error: type[PeerError], words: str) -> None:
    with pytest.raises(error, match=words):
        read(data)


@given(
    data=st.binary(max_size=60),
    cut=st.integers(1, 8),
    begun=st.sampled_from([b"", OK, OK + b"\r\n", b"HTTP/"]),
)
@examples(100)
def test_anything_is_a_response_or_a_fault_of_the_peer(data: bytes, cut: int, begun: bytes) -> None:
    try:
        whole = read(begun + data)[1]
    except PeerError:
        with pytest.raises(PeerError):
            read(begun + data, pieces=cut)
    else:
        assert read(begun + data, pieces=cut)[1] == whole
