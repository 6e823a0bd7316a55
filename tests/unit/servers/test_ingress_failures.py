"""What goes wrong, and what the client, the upstream and the records see of it."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
import test_ingress_harness as harness
from patience import patiently, soon, within
from test_ingress_harness import Backend, Message, World, free_address, http, read_head, read_message

world = harness.world

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def request(method: str, body: bytes = b"", path: str = "/") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def is_page(message: Message, title: str) -> bool:
    return title.encode() in message.body and b"<center>nginx</center>" in message.body


async def test_404_without_a_rule_or_a_path(world: World) -> None:
    _, address = await world.backend()
    await world.serve(address, host="h", path="/known")
    for path, host in [("/", "stranger"), ("/other", "h")]:
        answer = await world.get(path, host=host)
        assert answer.status == 404 and is_page(answer, "404 Not Found")
        assert answer.get("Content-Type") == "text/html"
    await world.configure(default_upstream="up")
    assert (await world.get("/other")).status == 200


async def test_503_without_servers(world: World) -> None:
    await world.serve()
    answer = await world.get()
    assert answer.status == 503 and is_page(answer, "503 Service Temporarily Unavailable")
    await world.configure(upstreams={})
    assert (await world.get()).status == 503


async def test_502_refused_after_three_tries(world: World) -> None:
    await world.serve(free_address())
    answer = await world.get()
    assert answer.status == 502 and is_page(answer, "502 Bad Gateway")
    assert world.server.status()["retries"] == 2


async def test_a_refusing_server_is_passed_over_whatever_the_method(world: World) -> None:
    _, address = await world.backend()
    await world.serve(free_address(), free_address(), address)
    answer = await world.ask(request("POST", b"body"))
    assert (answer.status, answer.body) == (200, b"b:body")
    assert world.server.status()["retries"] == 2


async def test_504_when_connecting_takes_too_long(world: World) -> None:
    """A listener whose queue is full neither takes nor refuses."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        await world.serve("{}:{}".format(*full.getsockname()), connect_timeout=0.05)
        answer = await world.get()
        for filler in fillers:
            filler.close()
    assert answer.status == 504 and is_page(answer, "504 Gateway Time-out")


async def test_504_when_the_answer_takes_too_long(world: World) -> None:
    async def handler(backend: Backend, reader: Any, _writer: Any, _number: int) -> None:
        backend.requests.append(await read_message(reader))
        await reader.read()

    backend, address = await world.backend(handler)
    await world.serve(address, read_timeout=0.1)
    assert (await world.ask(request("POST", b"x"))).status == 504
    await world.until(lambda: len(backend.requests) == 1)  # sent once: it isn't idempotent
    assert (await world.get()).status == 504
    await world.until(lambda: len(backend.requests) == 4)  # nginx's three tries
    assert backend.connections == 4


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_502_when_the_upstream_leaves_early(world: World, reply: bytes) -> None:
    async def handler(backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        backend.requests.append(await read_message(reader))
        writer.write(reply)
        await writer.drain()

    backend, address = await world.backend(handler)
    await world.serve(address)
    assert (await world.ask(request("POST", b"x"))).status == 502
    assert len(backend.requests) == 1
    assert (await world.get()).status == 502
    assert len(backend.requests) == 4  # nginx goes on as long as the head isn't whole


@pytest.mark.parametrize(
    "reply", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 9000, b"HTTP/1.1 101 Go\r\n\r\n"]
)
async def test_502_when_the_upstream_talks_nonsense(world: World, reply: bytes) -> None:
    async def handler(backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        backend.requests.append(await read_message(reader))
        writer.write(reply)
        await reader.read()

    backend, address = await world.backend(handler)
    await world.serve(address)
    assert (await world.get()).status == 502
    assert len(backend.requests) == 1
    await soon(backend.ended.wait())


async def closes_when_idle(backend: Backend, reader: Any, writer: Any, number: int) -> None:
    """The first connection answers once and dies at the sight of a second request."""
    while True:
        message = await read_message(reader)
        backend.requests.append(message)
        if number == 0 and len(backend.requests) == 2:
            reset(writer)
            return
        writer.write(http(message.body))


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_dead_idle_connection_costs_the_client_nothing(world: World, method: str) -> None:
    backend, address = await world.backend(closes_when_idle)
    await world.serve(address)
    assert (await world.get()).status == 200
    answer = await world.ask(request(method, b"body"))
    assert (answer.status, answer.body) == (200, b"body")
    assert backend.connections == 2
    assert world.server.status()["retries"] == 1


async def test_a_post_is_not_sent_twice(world: World) -> None:
    backend, address = await world.backend(closes_when_idle)
    await world.serve(address)
    assert (await world.get()).status == 200
    assert (await world.ask(request("POST", b"body"))).status == 502
    assert backend.connections == 1


async def test_a_connection_closed_while_idle_is_not_used(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    assert (await world.get()).status == 200
    backend.writers[0].close()
    await world.until(lambda: world.server.status()["upstreams"] == {})
    assert (await world.ask(request("POST", b"x"))).status == 200
    assert backend.connections == 2
    assert world.server.status()["retries"] == 0


@patiently(1, 10)
async def test_idle_upstream_connections_end_in_time_and_number(limit: float, world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address, upstream_keepalive=1, upstream_keepalive_timeout=limit)
    readers = []
    with within(limit):
        for _ in range(3):
            reader, writer = await world.connect()
            writer.write(GET)
            readers.append(reader)
        for reader in readers:
            await read_message(reader)
        assert backend.connections == 3
        assert world.server.status()["upstreams"] == {address: {"idle": 1, "active": 0}}
    await world.until(lambda: world.server.status()["upstreams"] == {})


async def test_a_body_that_was_not_kept_is_not_sent_again(world: World) -> None:
    async def handler(backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        backend.requests.append(await read_head(reader))
        await reader.readexactly(100_000)
        reset(writer)

    backend, address = await world.backend(handler)
    await world.serve(address)
    assert (await world.ask(request("PUT", bytes(100_000)))).status == 502
    assert len(backend.requests) == 1


async def test_a_response_cut_short_ends_the_connection(world: World) -> None:
    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        message = await read_message(reader)
        framing = b"Transfer-Encoding: chunked" if "chunked" in message.start else b"Content-Length: 9"
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n3\r\nabc\r\n")
        await writer.drain()

    _, address = await world.backend(handler)
    await world.serve(address)
    for path in ("/length", "/chunked"):
        reader, writer = await world.connect()
        writer.write(request("GET", path=path))
        assert (await read_head(reader)).status == 200
        rest = await soon(reader.read())
        assert b"abc" in rest and not rest.endswith(b"0\r\n\r\n")
    assert [record["status"] for record in world.events("request")] == [200, 200]


async def test_a_client_that_leaves_takes_the_upstream_along(world: World) -> None:
    async def handler(backend: Backend, reader: Any, _writer: Any, _number: int) -> None:
        backend.requests.append(await read_message(reader))
        await reader.read()

    backend, address = await world.backend(handler)
    await world.serve(address)
    _, writer = await world.connect()
    writer.write(GET)
    await world.until(lambda: len(backend.requests) == 1)
    writer.close()
    await soon(backend.ended.wait())
    await world.until(lambda: len(world.events("request")) == 1)
    assert world.events("request")[0]["status"] == 499


@pytest.mark.parametrize("chunked", [False, True])
async def test_413_before_or_within_the_body(world: World, chunked: bool) -> None:
    _, address = await world.backend()
    await world.serve(address)
    limit = 1 << 20
    if chunked:
        wire = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire += b"%x\r\n" % (limit + 1) + bytes(limit + 1) + b"\r\n0\r\n\r\n"
    else:
        wire = request("POST", bytes(limit + 1))
    reader, writer = await world.connect()
    writer.write(wire)
    answer = await soon(read_message(reader))
    assert answer.status == 413 and is_page(answer, "413 Request Entity Too Large")
    assert answer.get("Connection") == "close"
    assert await soon(reader.read()) == b""
    assert (await world.ask(request("POST", bytes(limit)))).status == 200
    await world.serve(address, client_max_body=0)
    assert (await world.ask(request("POST", bytes(limit + 1)))).status == 200


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    "wire",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"Content-Length: 0\r\nContent-Length: 35\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + SMUGGLED,
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    ],
)
async def test_nothing_is_smuggled(world: World, wire: bytes) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(b"POST /front HTTP/1.1\r\nHost: h\r\n" + wire)
    answer = await soon(read_message(reader))
    assert answer.status in (400, 501)
    assert await soon(reader.read()) == b""
    assert not any("smuggled" in seen.start for seen in backend.requests)


@pytest.mark.parametrize(
    ("wire", "status", "title"),
    [
        (b"nonsense\r\n\r\n", 400, "400 Bad Request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "400 Bad Request"),
        (b"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "400 Bad Request"),
        (b"GET /../x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "400 Bad Request"),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "400 Bad Request"),
        (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "400 Bad Request"),
        (b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", 405, "405 Not Allowed"),
        (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "405 Not Allowed"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, "414 Request-URI Too Large"),
        (
            b"GET / HTTP/1.1\r\nHost: h\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n",
            400,
            "Request Header Or Cookie Too Large",
        ),
    ],
)
async def test_requests_that_are_refused(world: World, wire: bytes, status: int, title: str) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    answer = await world.ask(wire)
    assert answer.status == status and is_page(answer, title)
    assert not backend.requests
    assert [record["status"] for record in world.events("request")] == [status]


async def test_clients_that_dawdle_are_let_go(world: World) -> None:
    _, address = await world.backend()
    await world.serve(address, keepalive_timeout=0.1)
    idle, writer = await world.connect()
    writer.write(GET)
    assert (await read_message(idle)).status == 200
    assert await soon(idle.read()) == b""
    await world.serve(address, header_timeout=0.1)
    head, writer = await world.connect()
    writer.write(b"GET / HT")
    assert await soon(head.read()) == b""
    await world.serve(address, body_timeout=0.1)
    body, writer = await world.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
    assert (await soon(read_message(body))).status == 408


async def test_an_upstream_that_answers_before_the_body_is_in(world: World) -> None:
    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        await read_head(reader)
        writer.write(http(b"no", "401 Unauthorized"))
        await reader.read()

    backend, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n" + bytes(1000))
    answer = await soon(read_message(reader))
    assert (answer.status, answer.body) == (401, b"no")
    assert await soon(reader.read()) == b""
    await soon(backend.ended.wait())


async def test_bytes_that_nobody_asked_for_end_an_upstream_connection(world: World) -> None:
    """Else they would be the answer to the next request, which may be somebody else's."""

    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        while True:
            await read_message(reader)
            writer.write(http(b"asked") + http(b"unasked"))

    backend, address = await world.backend(handler)
    await world.serve(address)
    for _ in range(3):
        assert (await world.get()).body == b"asked"
    assert backend.connections == 3
