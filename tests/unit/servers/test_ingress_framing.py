"""Where messages end, both ways: what stands beside a message is no part of one. And heads as nginx reads them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import test_ingress_harness as harness
from patience import soon, until
from test_ingress_harness import Backend, World, http, read_message

world = harness.world

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
STOLEN = b"GET /stolen HTTP/1.1\r\nHost: h\r\nX-Ignore: "


@pytest.mark.parametrize(
    "names",
    ["Content-Length", "close, content-length", "Host", "Transfer-Encoding", "Content-Length, Host, X"],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_connection_takes_away_no_framing(world: World, names: str, chunked: bool) -> None:
    """The body stays a body; the next client's request on the kept connection is its own."""
    backend, address = await world.backend()
    await world.serve(address)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(STOLEN)}"
    head = f"POST / HTTP/1.1\r\nHost: h\r\nConnection: {names}\r\n{framing}\r\n\r\n".encode()
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(STOLEN), STOLEN) if chunked else STOLEN
    assert (await world.ask(head + body)).body == b"b:" + STOLEN
    assert (await world.get("/next", "Cookie: secret")).status == 200
    assert [request.start for request in backend.requests] == ["POST / HTTP/1.1", "GET /next HTTP/1.1"]
    assert backend.requests[0].get("Host") == "h"
    assert backend.connections == 1


async def test_connection_takes_away_nothing_that_others_decide_by(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    names = "X-Forwarded-For, X-Real-IP, X-Request-ID, Authorization, Cookie, Content-Type, X-Forwarded-Proto, X-Mine"
    fields = ["Authorization: a", "Cookie: b", "Content-Type: c", "X-Request-ID: d", "X-Mine: e"]
    await world.get("/", f"Connection: {names}", *fields)
    (seen,) = backend.requests
    assert [seen.get(name) for name in ("Authorization", "Cookie", "Content-Type", "X-Request-ID")] == list(
        "abcd"
    )
    assert seen.get("X-Forwarded-For") == seen.get("X-Real-IP") == "127.0.0.1"
    assert seen.get("X-Forwarded-Proto") == "http"
    assert seen.get("X-Mine") is None


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nPOISON!"
COMPLETE = [
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
    ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", b""),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", b""),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nok", b"ok"),
]


@pytest.mark.parametrize("excess", [POISON, b"!", b"\r\n", b"HTTP/1.1 200 OK\r\n"])
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(("method", "answer", "body"), COMPLETE)
async def test_what_follows_an_answer_reaches_nobody(
    world: World, method: str, answer: bytes, body: bytes, later: bool, excess: bytes
) -> None:
    """In the same segment, or while the connection is idle: it is dropped and never used again."""
    go, ended = asyncio.Event(), asyncio.Event()

    async def handler(backend: Backend, reader: Any, writer: Any, number: int) -> None:
        if number:
            return await harness.polite(backend, reader, writer, number)
        backend.requests.append(await read_message(reader))
        writer.write(answer if later else answer + excess)
        if later:
            await go.wait()
            writer.write(excess)
        assert await reader.read() == b"", "another request came over it"
        ended.set()
        return None

    backend, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(f"{method} / HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    got = await soon(read_message(reader, bodiless=method == "HEAD"))
    assert got.body == body and "POISON" not in got.start
    go.set()
    await soon(ended.wait())
    writer.write(GET)
    assert (await soon(read_message(reader))).body == b"b:"
    assert backend.connections == 2


async def test_a_request_that_comes_with_the_excess_isnt_answered_by_it(world: World) -> None:
    """What the kernel has, though the loop hasn't read it, belongs to no request that is sent after it."""

    async def handler(backend: Backend, reader: Any, writer: Any, number: int) -> None:
        if number:
            return await harness.polite(backend, reader, writer, number)
        await read_message(reader)
        writer.write(http(b"first"))
        with_excess.set()
        await go.wait()
        writer.write(POISON)
        assert await reader.read() == b"", "another request came over it"
        return None

    with_excess, go = asyncio.Event(), asyncio.Event()
    _, address = await world.backend(handler)
    await world.serve(address)
    await world.get()
    await soon(with_excess.wait())
    pool = world.server._context.pool  # type: ignore[attr-defined]
    (idle,) = pool._idle[address]
    await until(lambda: not idle.transport.is_closing() and idle.silent)
    idle.transport.pause_reading()  # the loop is slow to tell
    go.set()
    await until(lambda: not idle.silent)
    assert pool.take(address) is None
    assert (await world.get()).body == b"b:"


@pytest.mark.parametrize(
    ("wire", "status", "seen"),
    [
        (b"FOO / HTTP/1.1\r\nHost: h\r\n\r\n", 200, "FOO / HTTP/1.1"),
        (b"GET_X / HTTP/1.1\r\nHost: h\r\n\r\n", 200, "GET_X / HTTP/1.1"),
        (b"VERSION-CONTROL / HTTP/1.1\r\nHost: h\r\n\r\n", 200, "VERSION-CONTROL / HTTP/1.1"),
        (b"get / HTTP/1.1\r\nHost: h\r\n\r\n", 400, None),
        (b"G3T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, None),
        (b"GET /\xe9?\xff HTTP/1.1\r\nHost: h\r\n\r\n", 200, "GET /\xe9?\xff HTTP/1.1"),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, None),
        (b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, None),
        (b"GET / RTSP/1.0\r\nHost: h\r\n\r\n", 400, None),
        (b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", 200, "GET / HTTP/1.1"),
        (b"GET / HTTP/1.2\r\n\r\n", 400, None),
        (b"GET /\r\n", 400, None),
        (b"GET / HTTP/1.1\nHost: h\nX: 1\r\n\n", 200, "GET / HTTP/1.1"),
        (b"GET http://h?q=1 HTTP/1.1\r\nHost: h\r\n\r\n", 200, "GET /?q=1 HTTP/1.1"),
        (b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", 200, "GET / HTTP/1.1"),
        (b"GET HTTP://h:81/a?b HTTP/1.1\r\nHost: x\r\n\r\n", 200, "GET /a?b HTTP/1.1"),
        (b"GET http://[::1]:81/ HTTP/1.0\r\n\r\n", 200, "GET / HTTP/1.1"),
        (b"GET http://h/ HTTP/1.1\r\n\r\n", 400, None),
        (b"GET http://h/ HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, None),
        (b"GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", 400, None),
        (b"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, None),
        (b"GET http:/h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, None),
        (b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, None),
        (b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: a:b:c\r\n\r\n", 200, "GET / HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 200, "GET / HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: h\r\nN(o)t: a\r\nX: \x01\xff\r\n\r\n", 200, "GET / HTTP/1.1"),
        (b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n" % (b"a" * 8176), 200, f"GET /{'a' * 8176} HTTP/1.1"),
        (b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n" % (b"a" * 8178), 414, None),
        (
            b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: %s\r\n" % (b"a" * 5000) * 4 + b"\r\n",
            200,
            "GET / HTTP/1.1",
        ),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: %s\r\n" % (b"a" * 5000) * 5 + b"\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: 1\r\n" * 2000 + b"\r\n", 200, "GET / HTTP/1.1"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", 501, None),
    ],
)
async def test_heads_as_nginx_reads_them(world: World, wire: bytes, status: int, seen: str | None) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    assert (await world.ask(wire)).status == status
    assert [request.start for request in backend.requests] == ([seen] if seen else [])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX: 1\nContent-Length: 2\n\r\nok",
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\r\n\n2\nok\n0\n\n",
        b"HTTP/1.1 103 Early\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    ],
)
async def test_lines_of_answers_may_end_in_lf_alone(world: World, answer: bytes) -> None:
    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        while True:
            await read_message(reader)
            for at in range(0, len(answer), 7):
                writer.write(answer[at : at + 7])
                await asyncio.sleep(0)

    backend, address = await world.backend(handler)
    await world.serve(address)
    assert [(await world.get()).body for _ in range(2)] == [b"ok", b"ok"] and backend.connections == 1


async def test_of_single_fields_of_an_answer_the_first_counts(world: World) -> None:
    fields = (
        b"Content-Type: text/a\r\nETag: 1\r\nSet-Cookie: a\r\nVary: a\r\nLocation: /a\r\nLast-Modified: a\r\n"
        b"content-type: text/b\r\netag: 2\r\nSet-Cookie: b\r\nVary: b\r\nLOCATION: /b\r\nLast-Modified: b\r\n"
    )

    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n")

    _, address = await world.backend(handler)
    await world.serve(address)
    answer = await world.get()
    single = ("Content-Type", "ETag", "Location", "Last-Modified")
    assert [answer.all(name) for name in single] == [["text/a"], ["1"], ["/a"], ["a"]]
    assert answer.all("Set-Cookie") == ["a", "b"] and answer.all("Vary") == ["a", "b"]


async def test_expect_in_an_old_request_is_ignored(world: World) -> None:
    _, address = await world.backend()
    await world.serve(address)
    wire = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    assert (await world.ask(wire)).status == 200


async def test_clients_are_told_that_the_connection_stays(world: World) -> None:
    _, address = await world.backend()
    await world.serve(address, path="/up")
    assert (await world.get("/up")).get("Connection") == "keep-alive"
    assert (await world.get("/none")).get("Connection") == "keep-alive"
    assert (await world.get("/up", "Connection: close")).get("Connection") == "close"
    assert (await world.get("/none", "Connection: close")).get("Connection") == "close"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 099 Early\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"hello",
    ],
)
async def test_answers_that_nobody_can_read_are_502(world: World, answer: bytes) -> None:
    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        writer.write(answer)
        assert await reader.read() == b""

    _, address = await world.backend(handler)
    await world.serve(address)
    assert (await world.get()).status == 502


@pytest.mark.parametrize("piece", [b"zz\r\n", b"2\r\nokk\r\n", b"-1\r\n", b"ffffffffffffffff\r\n"])
async def test_an_answer_in_malformed_chunks_stays_cut(world: World, piece: bytes) -> None:
    """Its head is out already: the client must not take it for whole."""

    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await go.wait()
        writer.write(piece)
        assert await reader.read() == b""

    go = asyncio.Event()
    _, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(GET)
    assert (await soon(harness.read_head(reader))).status == 200
    go.set()
    assert not (await soon(reader.read())).endswith(b"0\r\n\r\n")
