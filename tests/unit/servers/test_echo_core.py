"""The echo stand-in's cores: no socket, no clock."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.echo.answers import BYTES_LIMIT, answer, answer_bytes
from emulab.servers.echo.config import PodConfig, PortConfig
from emulab.servers.echo.identities import identity_of
from emulab.servers.echo.websocket import FRAME_LIMIT, WebSocketEcho, frame, handshake, unmask
from emulab.servers.wire.http1.requests import HEADER_LIMIT, Request, RequestReader, canonical

IDENTITY = identity_of(
    "10.244.1.5",
    8080,
    PodConfig(
        namespace="default",
        pod="product-7c9f-2",
        node="node1",
        pod_ip="10.244.1.5",
        ports={"8080": PortConfig(service="product-service", ingress="shop-ingress")},
    ),
)
CLIENT = "10.244.0.1:40000"


def read(data: bytes, sizes: list[int] | None = None) -> RequestReader:
    """A reader that was fed `data`, in pieces of the given sizes and then the rest."""
    reader = RequestReader()
    for size in sizes or []:
        piece, data = data[:size], data[size:]
        reader.feed(piece)
    reader.feed(data)
    return reader


def one(data: bytes) -> Request:
    reader = read(data)
    assert not reader.failure
    assert len(reader.requests) == 1
    return reader.requests[0]


def get(target: str, method: str = "GET", headers: str = "") -> Request:
    return one(f"{method} {target} HTTP/1.1\r\nHost: shop.example.com\r\n{headers}\r\n".encode())


# Requests.


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        (b"x-forwarded-for", "X-Forwarded-For"),
        (b"HOST", "Host"),
        (b"x-REQUEST-iD", "X-Request-Id"),
        (b"a--b", "A--B"),
        (b"bad name", "bad name"),
        (b"caf\xe9", "café"),
    ],
)
def test_header_names_are_spelt_as_go_does(name: bytes, spelt: str) -> None:
    assert canonical(name) == spelt


PIPELINE = (
    b"POST /a?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
    b"GET /b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
    b"PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n10;e=1\r\n0123456789abcdef\r\n0\r\nX-T: v\r\n\r\n"
    b"GET /d HTTP/1.0\r\n\r\n"
)


@given(st.lists(st.integers(1, 40), max_size=20))
def test_any_chunking_yields_the_same_requests(sizes: list[int]) -> None:
    reader = read(PIPELINE, sizes)
    assert not reader.failure
    seen = [(r.method, r.target, r.proto, r.body_bytes, r.keep_alive) for r in reader.requests]
    assert seen == [
        ("POST", "/a?x=1", "HTTP/1.1", 5, True),
        ("GET", "/b", "HTTP/1.1", 0, True),
        ("PUT", "/c", "HTTP/1.1", 19, True),
        ("GET", "/d", "HTTP/1.0", 0, False),
    ]
    assert reader.requests[1].headers["X-A"] == ["1", "2"]
    assert "X-T" not in reader.requests[2].headers
    assert not reader.in_message


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * HEADER_LIMIT + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * HEADER_LIMIT + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 0123456789\r\n" * 5000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * (HEADER_LIMIT + 1), 431),
        (b"\r\n" * HEADER_LIMIT, 431),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + b"T: 0123456789\r\n" * 5000,
            431,
        ),
    ],
)
@pytest.mark.parametrize("step", [0, 1000])
def test_what_is_wrong_has_a_status(data: bytes, status: int, step: int) -> None:
    reader = read(data, [step] * (len(data) // step) if step else None)
    assert reader.failure == status
    assert not reader.requests


def test_headers_just_under_the_limit_pass() -> None:
    assert get("/", headers=f"X: {'a' * (HEADER_LIMIT - 100)}\r\n").headers["X"][0].startswith("aaa")


def test_a_large_body_is_counted_and_not_kept() -> None:
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
    for _ in range(100):
        assert reader.in_message
        reader.feed(bytes(100_000))
    assert reader.requests.popleft().body_bytes == 10_000_000
    assert not reader.failure


def test_expect_is_told_until_the_body_comes() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    reader = read(head)
    assert reader.expecting
    reader.feed(b"o")
    assert not reader.expecting
    assert not read(head + b"ok").expecting


@pytest.mark.parametrize("body", [b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_upgrade_to_anything_else_is_ignored(body: bytes) -> None:
    payload = b"3\r\nabc\r\n0\r\n\r\n" if b"chunked" in body else b"abc" if body else b""
    data = (
        b"POST /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        + body
        + b"\r\n"
        + payload
        + b"GET /next HTTP/1.1\r\nHost: b\r\n\r\n"
    )
    reader = read(data)
    assert not reader.failure
    assert [(r.target, r.body_bytes) for r in reader.requests] == [("/up", len(body) and 3), ("/next", 0)]
    assert reader.requests[0].host == "a"


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_arbitrary_bytes_never_raise(pieces: list[bytes]) -> None:
    reader = RequestReader()
    for piece in pieces:
        reader.feed(piece)


PIECES = (
    "GET |POST |CONNECT a:1 |/ |http://h/x |HTTP/1.1\r\n|HTTP/1.0\r\n|\r\n|Host: a\r\n|0\r\n\r\n|\0"
    "|Content-Length: 4\r\n|Transfer-Encoding: chunked\r\n|Expect: 100-continue\r\n|Connection: upgrade\r\n"
    "|Upgrade: websocket\r\n|Upgrade: h2c\r\n"
)


@given(st.lists(st.sampled_from([piece.encode() for piece in PIECES.split("|")]), max_size=30))
def test_near_requests_never_raise(pieces: list[bytes]) -> None:
    whole, slow = read(b"".join(pieces)), RequestReader()
    for piece in pieces:
        slow.feed(piece)
    assert [r.target for r in whole.requests] == [r.target for r in slow.requests]
    assert whole.failure == slow.failure
    for request in whole.requests:
        answer_bytes(answer(request, IDENTITY, CLIENT), request.method, request.proto)


# Answers.


def test_the_json_tells_everything() -> None:
    headers = "x-forwarded-for: 1.2.3.4\r\nX-FORWARDED-FOR: 5.6.7.8\r\nAccept: */*\r\n"
    document = json.loads(answer(get("/products/42?q=%20a&b", headers=headers), IDENTITY, CLIENT).body)
    assert document == {
        "path": "/products/42?q=%20a&b",
        "host": "shop.example.com",
        "method": "GET",
        "proto": "HTTP/1.1",
        "headers": {"X-Forwarded-For": ["1.2.3.4", "5.6.7.8"], "Accept": ["*/*"]},
        "namespace": "default",
        "ingress": "shop-ingress",
        "service": "product-service",
        "pod": "product-7c9f-2",
        "node": "node1",
        "podIP": "10.244.1.5",
        "port": 8080,
        "client": CLIENT,
    }


def test_an_absolute_target_names_the_host() -> None:
    request = get("http://other.example.com/hostname?x")
    assert (request.host, request.path) == ("other.example.com", "/hostname")
    assert get("/a://b").path == "/a://b"


def test_an_unknown_address_is_still_answered_for() -> None:
    document = json.loads(answer(get("/"), identity_of("10.0.0.9", 80, PodConfig()), CLIENT).body)
    assert (document["podIP"], document["port"], document["pod"]) == ("10.0.0.9", 80, "")


def test_odd_bytes_still_make_json() -> None:
    request = one(b'GET /"\\ HTTP/1.1\r\nHost: h\r\nX-A: "\\\xff\r\n\r\n')
    document = json.loads(answer(request, IDENTITY, CLIENT).body)
    assert document["path"] == '/"\\'
    assert document["headers"]["X-A"] == ['"\\\ufffd']


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/hostname", 200, b"product-7c9f-2"),
        ("/hostname?a=1", 200, b"product-7c9f-2"),
        ("/clientip", 200, CLIENT.encode()),
        ("/healthz", 200, b"ok"),
        ("/status/204", 204, b""),
        ("/status/304", 304, b""),
    ],
)
def test_short_paths(target: str, status: int, body: bytes) -> None:
    what = answer(get(target), IDENTITY, CLIENT)
    assert (what.status, what.body) == (status, body)


@pytest.mark.parametrize("status", [200, 299, 404, 503, 599])
def test_status_answers_json_with_that_status(status: int) -> None:
    what = answer(get(f"/status/{status}?x=1"), IDENTITY, CLIENT)
    assert what.status == status
    assert json.loads(what.body)["path"] == f"/status/{status}?x=1"


def test_an_informational_status_comes_before_the_answer() -> None:
    what = answer(get("/status/103"), IDENTITY, CLIENT)
    assert answer_bytes(what).startswith(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")


WRONG = """/status/ /status/99 /status/600 /status/101 /status/20 /status/2000 /status/abc /status/200/
    /delay/ /delay/-1 /delay/nan /delay/inf /delay/1e3 /delay/x /delay/.
    /bytes/ /bytes/-1 /bytes/1.5 /bytes/x /bytes/1_0 /bytes/%31"""


@pytest.mark.parametrize("target", WRONG.split())
def test_wrong_arguments_are_400(target: str) -> None:
    assert answer(get(target), IDENTITY, CLIENT).status == 400


def test_arguments_are_capped() -> None:
    assert answer(get("/bytes/10"), IDENTITY, CLIENT).stream == 10
    assert answer(get("/bytes/" + "9" * 5000), IDENTITY, CLIENT).stream == BYTES_LIMIT
    assert answer(get("/bytes/99999999999"), IDENTITY, CLIENT).stream == BYTES_LIMIT
    assert answer(get("/delay/0.25"), IDENTITY, CLIENT).delay == 0.25
    assert answer(get("/delay/99999"), IDENTITY, CLIENT).delay == 3600.0


@pytest.mark.parametrize("path", ["/status", "/delay", "/bytes", "/hostname/x", "/", "/healthz/", "*"])
def test_other_paths_are_echoed(path: str) -> None:
    method = "OPTIONS" if path == "*" else "GET"
    what = answer(get(path, method), IDENTITY, CLIENT)
    assert json.loads(what.body)["path"] == path


def test_rendering() -> None:
    what = answer(get("/healthz"), IDENTITY, CLIENT)
    assert answer_bytes(what) == (
        b"HTTP/1.1 200 OK\r\nServer: emulab-echo\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    assert answer_bytes(what, "HEAD").endswith(b"Content-Length: 2\r\n\r\n")
    assert b"Connection: close\r\n" in answer_bytes(what, close=True)
    assert b"Connection: keep-alive\r\n" in answer_bytes(what, proto="HTTP/1.0")
    assert b"Content-Length" not in answer_bytes(answer(get("/status/204"), IDENTITY, CLIENT))


# WebSocket.

MASK = b"\x01\x80\x7f\xff"


def masked(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """A frame as a client sends it, put together on its own here."""
    first, size = (0x80 if fin else 0) | opcode, len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65536:
        head = bytes([first, 0x80 | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, 0x80 | 127]) + struct.pack("!Q", size)
    return head + MASK + bytes(b ^ MASK[i % 4] for i, b in enumerate(payload))


def test_the_handshake_of_the_rfc() -> None:
    request = get(
        "/chat",
        headers="Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n",
    )
    assert request.websocket
    reply = handshake(request)
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in reply
    assert b"Sec-WebSocket-Protocol: chat\r\n" in reply


@given(st.binary(max_size=300))
def test_masking_is_its_own_inverse(payload: bytes) -> None:
    assert unmask(payload, MASK) == bytes(b ^ MASK[i % 4] for i, b in enumerate(payload))
    assert unmask(unmask(payload, MASK), MASK) == payload


@given(
    st.lists(st.tuples(st.booleans(), st.text(max_size=60)), max_size=6),
    st.lists(st.integers(1, 50), max_size=9),
)
def test_messages_come_back_in_any_chunking(messages: list[tuple[bool, str]], sizes: list[int]) -> None:
    sent = b"".join(masked(1 if text else 2, body.encode()) for text, body in messages)
    wanted = b"".join(frame(1 if text else 2, body.encode()) for text, body in messages)
    echo, got = WebSocketEcho(), b""
    for size in sizes:
        got += echo.feed(sent[:size])
        sent = sent[size:]
    assert got + echo.feed(sent) == wanted
    assert not echo.closed


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 1_000_000])
def test_every_length_form(size: int) -> None:
    payload = bytes(size)
    assert WebSocketEcho().feed(masked(2, payload)) == frame(2, payload)


def test_fragments_with_a_ping_between() -> None:
    text = "zwölf €".encode()
    data = masked(1, text[:3], False) + masked(9, b"p") + masked(0, text[3:8], False) + masked(0, text[8:])
    assert WebSocketEcho().feed(data) == (
        frame(1, text[:3], False) + frame(10, b"p") + frame(0, text[3:8], False) + frame(0, text[8:])
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(8, b""), None),
        (masked(8, struct.pack("!H", 1000) + b"bye"), 1000),
        (masked(8, struct.pack("!H", 4321)), 4321),
        (masked(8, b"\x03"), 1002),
        (masked(8, struct.pack("!H", 1005)), 1002),
        (masked(8, struct.pack("!H", 1000) + b"\xff"), 1002),
        (frame(1, b"unmasked"), 1002),
        (masked(0, b"nothing to continue"), 1002),
        (masked(1, b"a", False) + masked(1, b"b"), 1002),
        (masked(9, b"a" * 126), 1002),
        (masked(9, b"a", False), 1002),
        (masked(3, b""), 1002),
        (masked(11, b""), 1002),
        (b"\xc1" + masked(1, b"")[1:], 1002),
        (masked(1, b"\xff"), 1007),
        (masked(1, b"\xe2\x82"), 1007),
        (b"\x82\xff" + struct.pack("!Q", FRAME_LIMIT + 1), 1009),
    ],
)
def test_closing(data: bytes, code: int | None) -> None:
    echo = WebSocketEcho()
    reply = echo.feed(data)
    assert reply.endswith(frame(8, struct.pack("!H", code) if code else b""))
    assert echo.closed
    assert echo.feed(masked(1, b"late")) == b""


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_arbitrary_frames_never_raise(pieces: list[bytes]) -> None:
    echo = WebSocketEcho()
    for piece in pieces:
        echo.feed(piece)
