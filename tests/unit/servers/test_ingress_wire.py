"""The readers of the wire: heads, bodies and responses, whole, in pieces and malformed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from emulab.errors import PeerError
from emulab.servers.l7.engine.filters.effect import Page
from emulab.servers.l7.messages.compose import switching_response
from emulab.servers.l7.messages.request import RequestHead, begun_head
from emulab.servers.l7.messages.response import UpstreamResponse
from emulab.servers.l7.personalities.ingress_nginx import PERSONALITY, heads, pages
from emulab.servers.wire.http1.framing import LAST_CHUNK, ChunkedBody, LengthBody, chunk
from emulab.servers.wire.http1.head import BadMessage
from emulab.servers.wire.http1.reader import HeadReader
from emulab.servers.wire.http2.fields import fields_of

HEAD_MAX = 4096


def request_reader() -> HeadReader[RequestHead]:
    return HeadReader(heads.DIALECT)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(st.integers(0, 500), max_size=8))
def test_a_head_in_any_pieces(cuts: list[int]) -> None:
    wire = b"\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nX-A:  1 \r\nContent-Length: 3\r\n\r\nabcGET"
    reader, head, rest = request_reader(), None, b""
    for piece in pieces_of(wire, cuts):
        if head is None:
            head = reader.feed(piece)
            rest = reader.rest if head is not None else b""
        else:
            rest += piece
    assert head is not None
    assert (head.method, head.target, head.host, head.framing) == (b"POST", b"/a?b", b"h", 3)
    assert rest == b"abcGET"
    assert b"X-A: 1 \r\n" in head.lines or b"X-A: 1\r\n" in head.lines


def test_heads_one_after_another() -> None:
    reader = request_reader()
    data = b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(3))
    seen = []
    while data:
        head = reader.feed(data)
        assert head is not None
        seen.append(head.target)
        data = reader.rest
    assert seen == [b"/0", b"/1", b"/2"]


def test_fields_are_sorted_out() -> None:
    head = request_reader().feed(
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nX-Yours: 2\r\n"
        b"Keep-Alive: 5\r\nTE: trailers\r\nProxy: evil\r\nunder_score: 1\r\nX-Forwarded-For: 1.1.1.1\r\n"
        b"X-Real-IP: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Request-ID: mine\r\n\r\n"
    )
    assert head is not None
    assert head.lines == [b"X-Yours: 2\r\n"]
    assert head.forwarded_for == b"1.1.1.1"
    assert head.request_id == b"mine"
    assert head.keep_alive


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /" + b"a" * 8200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 8200, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 8200 + b"\r\n\r\n", heads.HEADER_TOO_LARGE),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: aaaaaaaa\r\n" * 3000, heads.HEADER_TOO_LARGE),
    ],
)
def test_heads_that_are_refused(wire: bytes, status: int) -> None:
    with pytest.raises(BadMessage) as refused:
        request_reader().feed(wire)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("line", "connection", "keeps"),
    [
        (b"HTTP/1.1", b"", True),
        (b"HTTP/1.1", b"Connection: Close\r\n", False),
        (b"HTTP/1.0", b"", False),
        (b"HTTP/1.0", b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_keep_alive(line: bytes, connection: bytes, keeps: bool) -> None:
    head = request_reader().feed(b"GET / " + line + b"\r\nHost: a\r\n" + connection + b"\r\n")
    assert head is not None
    assert head.keep_alive == keeps


@examples(300)
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_arbitrary_bytes_make_a_head_or_are_refused(parts: list[bytes]) -> None:
    reader = request_reader()
    try:
        for part in (b"GET / HTTP/1.1\r\n", *parts, b"\r\n\r\n"):
            if reader.feed(part) is not None:
                return
    except BadMessage as error:
        assert error.status in (400, 414, 494, 501)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.lists(st.integers(0, 999), max_size=9))
def test_chunks_in_any_pieces(bodies: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(map(chunk, bodies)) + b"0;last=yes\r\nTrailer: x\r\n\r\nNEXT"
    reader, out, rest = ChunkedBody(), b"", b""
    for piece in pieces_of(wire, cuts):
        if reader.done:
            rest += piece
        else:
            body, rest = reader.feed(piece)
            out += body
    assert (out, rest, reader.done) == (b"".join(bodies), b"NEXT", True)


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"-1\r\n",
        b"0x3\r\nabc\r\n",
        b" 3\r\nabc\r\n",
        b"3\nabc\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabcXY",
        b"11111111111111111\r\n",
        b"3" + b"3" * 5000,
        b"3;" + b"x" * 5000,
        b"3;\x01\r\nabc\r\n",
        b"0\r\nbad trailer\r\n\r\n",
        b"\r\n",
    ],
)
def test_chunks_that_are_refused(wire: bytes) -> None:
    with pytest.raises(PeerError):
        ChunkedBody().feed(wire)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_arbitrary_chunk_bytes_never_crash(wire: bytes, cuts: list[int]) -> None:
    reader = ChunkedBody()
    try:
        for piece in pieces_of(wire, cuts):
            if not reader.done:
                reader.feed(piece)
    except PeerError:
        return


def test_a_length_ends_the_body() -> None:
    body = LengthBody(5)
    assert body.feed(b"abc") == (b"abc", b"")
    assert body.feed(b"defGET") == (b"de", b"fGET")
    assert body.done


def read(wire: bytes, head_only: bool = False, cuts: tuple[int, ...] = ()) -> UpstreamResponse:
    reader = UpstreamResponse()
    reader.begin(head_only, PERSONALITY.response_fields)
    for piece in pieces_of(wire, list(cuts)):
        reader.feed(piece, HEAD_MAX)
    return reader


@given(st.lists(st.integers(0, 300), max_size=8))
def test_a_response_in_any_pieces(cuts: list[int]) -> None:
    wire = b"HTTP/1.1 103 Hint\r\nLink: x\r\n\r\n"
    wire += b"HTTP/1.1 200 Fine\r\nServer: s\r\nX-A: b\r\nContent-Length: 3\r\n\r\nabc"
    reader = read(wire, cuts=tuple(cuts))
    assert reader.complete and reader.reusable
    assert (reader.status, reader.head.reason, reader.length) == (200, b"Fine", 3)
    assert reader.lines == [b"X-A: b\r\n"]
    assert b"".join(reader.pieces) == b"abc"


@given(st.lists(st.integers(0, 300), max_size=8))
def test_the_answer_to_a_head_has_no_body(cuts: list[int]) -> None:
    wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"
    reader = read(wire, head_only=True, cuts=tuple(cuts))
    assert reader.complete and reader.reusable and reader.length == 3000 and not reader.pieces
    reader.begin(False, PERSONALITY.response_fields)
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", HEAD_MAX)
    assert reader.complete and reader.pieces == [b"a"]


@pytest.mark.parametrize(
    ("wire", "complete", "reusable"),
    [
        (b"HTTP/1.1 204 No\r\n\r\n", True, True),
        (b"HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n", True, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: 1\r\n\r\n", True, True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", True, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", True, False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1", True, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nagarbage", True, False),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", False, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", False, False),
    ],
)
def test_where_responses_end(wire: bytes, complete: bool, reusable: bool) -> None:
    reader = read(wire)
    assert (reader.complete, reader.reusable) == (complete, reusable)


def test_the_end_of_stream_ends_an_unmeasured_response_alone() -> None:
    assert read(b"HTTP/1.1 200 OK\r\n\r\nabc").eof()
    assert not read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na").eof()
    assert not read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").eof()
    assert not read(b"HTTP/1.1 20").eof()


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000,
    ],
)
def test_responses_that_are_refused(wire: bytes) -> None:
    with pytest.raises(PeerError):
        read(wire)


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_response_bytes_never_crash(wire: bytes, head_only: bool) -> None:
    try:
        read(b"HTTP/1.1 200 OK\r\n" + wire, head_only)
        read(wire, head_only)
    except PeerError:
        return


def test_a_101_hands_over_what_follows_it() -> None:
    reader = read(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframe")
    assert reader.tunnel == b"frame"
    assert reader.head.upgrade == b"websocket"


@pytest.mark.parametrize(
    ("target", "passed"),
    [(b"http://h", b"/"), (b"http://h?x#f", b"/?x"), (b"http://h/#f", b"/#f")],
)
def test_an_absolute_target_without_a_path_loses_its_fragment(target: bytes, passed: bytes) -> None:
    head = request_reader().feed(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)
    assert head is not None
    assert head.target == passed


@pytest.mark.parametrize("upgrade", [b"Upgrade: websocket\r\n", b""])
def test_a_101_names_the_protocol_that_the_server_named(upgrade: bytes) -> None:
    reader = read(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\n%b\r\n" % upgrade)
    head = switching_response(reader, b"Date: x\r\n")
    assert head == b"HTTP/1.1 101 Go\r\nDate: x\r\nConnection: upgrade\r\n%b\r\n" % upgrade


@pytest.mark.parametrize("status", [200, 426])
@pytest.mark.parametrize("listed", [b"Upgrade", b"Upgrade, X-Hop"])
def test_a_protocol_that_is_offered_is_passed_on_over_http1_alone(status: int, listed: bytes) -> None:
    fields = b"Upgrade: h2c\r\nX-Hop: 1\r\nConnection: %b\r\nContent-Length: 0\r\n\r\n" % listed
    reader = read(b"HTTP/1.1 %d X\r\n%b" % (status, fields))
    assert reader.complete
    assert b"Upgrade: h2c\r\n" in reader.lines
    assert b"upgrade" not in dict(fields_of(reader.lines))


def test_pages_look_like_those_of_nginx() -> None:
    page = pages.html(404).decode()
    assert page.startswith("<html>\r\n<head><title>404 Not Found</title></head>")
    assert "<hr><center>nginx</center>" in page
    assert "400 Request Header Or Cookie Too Large" in pages.html(heads.HEADER_TOO_LARGE).decode()
    answer = pages.answer(Page(404, ""), date=b"", close=False, head_only=True)
    assert answer.endswith(b"\r\n\r\n") and b"Content-Length: %d" % len(page) in answer


def test_the_last_chunk_is_one() -> None:
    body = ChunkedBody()
    assert body.feed(LAST_CHUNK) == (b"", b"")
    assert body.done


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (b"GET /a?b HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\nmore", (b"GET", b"/a?b", True, 39)),
        (b"GET /a HTTP/1.1\r\nX: " + b"x" * 99, (b"GET", b"/a", False, 0)),
        (b"HEAD / a HTTP/1.1\r\n", (b"HEAD", b"", False, 0)),
        (b"nonsense\r\n\r\n", (b"", b"", False, 0)),
        (b"GET /a", (b"", b"", False, 0)),
    ],
)
def test_what_is_told_of_a_request_that_is_refused(
    data: bytes, known: tuple[bytes, bytes, bool, int]
) -> None:
    head = begun_head(data)
    assert (head.method, head.target, head.old, head.size) == known
