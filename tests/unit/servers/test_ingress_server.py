"""The proxy in working order: what passes through it, how, and what it tells."""

from __future__ import annotations

import asyncio
import re
from time import time_ns
from typing import Any

import pytest
import test_ingress_harness as harness
from patience import LONG, TooLate, patiently, soon, standstill
from test_ingress_harness import Backend, World, http, listener, read_chunks, read_head, read_message

world = harness.world

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def test_a_request_passes_with_its_fields(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    answer = await world.get("/a//b/../c?d=%20e", "X-Mine: 1", "Accept: */*", host="Shop.Example:81")
    assert (answer.status, answer.body) == (200, b"b:")
    (seen,) = backend.requests
    assert seen.start == "GET /a//b/../c?d=%20e HTTP/1.1"
    assert seen.get("Host") == "Shop.Example:81"
    assert seen.get("X-Mine") == "1"
    assert seen.get("Connection") is None
    assert seen.get("X-Forwarded-For") == seen.get("X-Real-IP") == "127.0.0.1"
    assert seen.get("X-Forwarded-Host") == "Shop.Example:81"
    assert seen.get("X-Forwarded-Port") == str(world.port)
    assert {seen.get(f"X-{name}") for name in ("Forwarded-Proto", "Forwarded-Scheme", "Scheme")} == {"http"}
    assert re.fullmatch("[0-9a-f]{32}", seen.get("X-Request-ID") or "")


async def test_what_a_client_says_of_itself_is_not_believed(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    claims = ["X-Forwarded-For: 6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Forwarded-Proto: https", "X-Scheme: https"]
    await world.get("/", *claims, "X-Forwarded-Host: evil", "X-Forwarded-Port: 1", "X-Request-ID: kept")
    (seen,) = backend.requests
    assert seen.get("X-Forwarded-For") == seen.get("X-Real-IP") == "127.0.0.1"
    assert seen.get("X-Original-Forwarded-For") == "6.6.6.6"
    assert (seen.get("X-Forwarded-Proto"), seen.get("X-Scheme")) == ("http", "http")
    assert (seen.get("X-Forwarded-Host"), seen.get("X-Forwarded-Port")) == ("h", str(world.port))
    assert seen.get("X-Request-ID") == "kept"


async def test_a_trusted_front_is_believed(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address, trust_forwarded=True)
    claims = ["X-Forwarded-For: 6.6.6.6, 7.7.7.7", "X-Forwarded-Proto: https", "X-Forwarded-Port: 443"]
    await world.get("/", *claims, "X-Forwarded-Host: outer")
    (seen,) = backend.requests
    assert seen.get("X-Forwarded-For") == seen.get("X-Real-IP") == "6.6.6.6"
    assert (seen.get("X-Forwarded-Proto"), seen.get("X-Forwarded-Port")) == ("https", "443")
    assert seen.get("Host") == seen.get("X-Forwarded-Host") == "outer"


async def test_hop_by_hop_fields_end_here_both_ways(world: World) -> None:
    async def handler(backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        backend.requests.append(await read_message(reader))
        writer.write(
            http(b"", "200 OK", "Connection: X-Gone", "X-Gone: 1", "Keep-Alive: 5", "Server: s", "X-A: 1")
        )

    backend, address = await world.backend(handler)
    await world.serve(address)
    answer = await world.get(
        "/", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers", "Proxy: x"
    )
    for name in ("X-Hop", "Keep-Alive", "TE", "Proxy", "Connection"):
        assert backend.requests[0].get(name) is None
    for name in ("X-Gone", "Keep-Alive", "Server"):
        assert answer.get(name) is None
    assert answer.get("Connection") == "keep-alive"  # as nginx tells every client
    assert answer.get("X-A") == "1"
    assert answer.get("Date")


async def test_connections_are_kept_on_both_sides(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    reader, writer = await world.connect()
    for _ in range(5):
        writer.write(GET)
        assert (await read_message(reader)).status == 200
    await world.get()
    assert backend.connections == 1
    assert len(world.events("proxy-accept")) == 2
    assert [record["reused"] for record in world.events("proxy-connect")] == [False] + [True] * 5
    status = world.server.status()
    assert (status["requests"], status["reused"], status["opened"]) == (6, 5, 1)
    assert status["upstreams"] == {address: {"idle": 1, "active": 0}}


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address, path="/up")
    reader, writer = await world.connect()
    wire = b""
    for n in range(200):
        path = b"/none" if n % 3 == 0 else b"/up"
        wire += b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n%03d" % (path, n)
    writer.write(wire)
    for n in range(200):
        answer = await soon(read_message(reader))
        assert (answer.status, answer.body) == (200, b"b:%03d" % n) if n % 3 else answer.status == 404
    assert len(backend.requests) == 133


async def test_a_deep_pipeline_of_own_answers_does_not_nest(world: World) -> None:
    await world.configure(options={"keepalive_requests": 4000})
    reader, writer = await world.connect()
    writer.write(GET * 3000)
    for _ in range(3000):
        assert (await soon(read_message(reader))).status == 404


async def test_old_clients(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = await read_message(reader)
    assert answer.get("Connection") == "keep-alive"
    assert backend.requests[0].get("Host") == "_"
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert (await read_message(reader)).get("Connection") == "close"
    assert await reader.read() == b""


async def test_chunks_become_the_end_of_the_connection_for_old_clients(world: World) -> None:
    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        while True:
            await read_message(reader)
            writer.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"
            )

    _, address = await world.backend(handler)
    await world.serve(address)
    answer = await world.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (answer.body, answer.get("Connection"), answer.get("Transfer-Encoding")) == (b"abc", "close", None)
    assert (await world.get()).body == b"abc"


async def test_an_upstream_that_ends_by_closing(world: World) -> None:
    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")

    backend, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    for _ in range(2):
        writer.write(GET)
        answer = await read_message(reader)
        assert (answer.body, answer.get("Transfer-Encoding")) == (b"all of it", "chunked")
    assert backend.connections == 2


@pytest.mark.parametrize(
    ("method", "reply", "length"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", "12345"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", None),
    ],
)
async def test_answers_without_a_body(world: World, method: bytes, reply: bytes, length: str | None) -> None:
    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        while True:
            await read_message(reader)
            writer.write(reply)

    backend, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    for _ in range(3):
        writer.write(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = await soon(read_message(reader, bodiless=True))
        assert answer.get("Content-Length") == length
        assert answer.get("Transfer-Encoding") is None
    assert backend.connections == 1


async def test_a_request_body_streams(world: World) -> None:
    """The upstream has the first bytes while the client hasn't sent, or even decided on, the last ones."""
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        head = await read_head(reader)
        assert head.get("Transfer-Encoding") == "chunked"
        while size := int(await reader.readline(), 16):
            got.put_nowait(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        writer.write(http(b"done"))

    _, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    for n in range(4):
        writer.write(b"5;x=y\r\npart%d\r\n" % n)
        assert await soon(got.get()) == b"part%d" % n
    writer.write(b"0\r\nTrailer: x\r\n\r\n")
    assert (await read_message(reader)).body == b"done"


async def test_a_body_larger_than_any_buffer_waits_for_its_taker(world: World) -> None:
    """32 MB against an upstream that reads nothing: the client is stopped; then everything arrives."""
    size, go = 32 << 20, asyncio.Event()

    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        head = await read_head(reader)
        await go.wait()
        left = int(head.get("Content-Length") or 0)
        while left:
            left -= len(await reader.read(min(left, 1 << 20)))
        writer.write(http(b"whole"))

    _, address = await world.backend(handler)
    await world.serve(address, client_max_body=0)
    reader, writer = await world.connect()
    writer.write(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
    sent, block = 0, bytes(1 << 18)

    async def flood() -> None:
        nonlocal sent
        while sent < size:
            writer.write(block)
            sent += len(block)
            await writer.drain()

    flooding = asyncio.ensure_future(flood())
    await standstill(lambda: sent)
    assert 0 < sent < size
    go.set()
    await soon(flooding)
    assert (await soon(read_message(reader))).body == b"whole"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_response_larger_than_any_buffer_waits_for_its_taker(world: World, chunked: bool) -> None:
    size, sent, block = 32 << 20, 0, bytes(1 << 18)

    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        nonlocal sent
        await read_message(reader)
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        while sent < size:
            writer.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            await writer.drain()
            sent += len(block)
        writer.write(b"0\r\n\r\n" if chunked else b"")

    _, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(GET)
    head = await read_head(reader)
    assert head.status == 200
    await standstill(lambda: sent)  # the upstream can't get rid of any more
    assert sent < size
    body = await soon(read_chunks(reader) if chunked else reader.readexactly(size))
    assert len(body) == size


async def test_expect_is_answered_here(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert (await read_message(reader)).status == 100
    writer.write(b"abc")
    assert (await read_message(reader)).body == b"b:abc"
    assert backend.requests[0].get("Expect") is None


async def test_an_answer_of_our_own_keeps_the_connection_past_the_body(world: World) -> None:
    reader, writer = await world.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
    assert (await read_message(reader)).status == 404
    writer.write(b"67890" + GET)
    assert (await read_message(reader)).status == 404


async def test_servers_take_turns(world: World) -> None:
    pairs = [await world.backend(name=name) for name in "abc"]
    await world.serve(*(address for _, address in pairs))
    names = [(await world.get()).body[:1] for _ in range(6)]
    assert names == [b"a", b"b", b"c"] * 2


async def test_redirect_to_https(world: World) -> None:
    rule = {"host": "s", "path": "/", "path_type": "Prefix", "upstream": "up", "ssl_redirect": True}
    await world.configure(rules=[rule])
    answer = await world.get("/a/b?c=d", host="s:8080")
    assert (answer.status, answer.get("Location")) == (308, "https://s/a/b?c=d")


async def test_an_absolute_target_overrides_the_host(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address, host="right")
    assert (await world.get("http://right/x?y", host="wrong")).status == 200
    assert backend.requests[0].start == "GET /x?y HTTP/1.1"
    assert backend.requests[0].get("Host") == "right"


async def test_records_tell_the_way(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    before = time_ns()
    reader, writer = await world.connect()
    writer.write(b"DELETE /x?y HTTP/1.1\r\nHost: shop\r\n\r\n")
    await read_message(reader)
    client = "{}:{}".format(*writer.get_extra_info("sockname"))
    accept, attempt, connect, request = world.records
    who = {"client": client, "local": f"127.0.0.1:{world.port}"}
    rule = {"rule": "Ingress d/i", "rule_host": "", "rule_path": "/", "rule_type": "Prefix"}
    assert 0 < accept.pop("time") - before < 5e9
    assert accept == {"event": "proxy-accept", **who, "tls": False}
    source = backend.writers[0].get_extra_info("peername")
    assert attempt == {
        "event": "proxy-try",
        **who,
        "upstream_source": "",
        "upstream": address,
        "upstream_name": "up",
        "attempt": 1,
        **rule,
    }
    request_id = request.pop("request_id")
    assert re.fullmatch("[0-9a-f]{32}", request_id) and connect.pop("request_id") == request_id
    assert connect == {
        "event": "proxy-connect",
        **who,
        "upstream_source": f"127.0.0.1:{source[1]}",
        "upstream": address,
        "upstream_name": "up",
        "attempt": 1,
        "reused": False,
        **rule,
    }
    assert 0 < request.pop("duration_us") < 5e6
    assert request == {
        "event": "request",
        **who,
        "method": "DELETE",
        "host": "shop",
        "path": "/x?y",
        "version": "1.1",
        "status": 200,
        "upstream": address,
        "upstream_name": "up",
        "answered_by": "upstream",
        "reason": "",
        **rule,
    }


async def switch(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
    head = await read_head(reader)
    assert (head.get("Connection"), head.get("Upgrade")) == ("upgrade", "websocket")
    writer.write(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: 1\r\n\r\nhello")
    while data := await reader.read(1 << 16):
        writer.write(data.upper())
    writer.write(b"bye")
    await writer.drain()


UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def test_a_tunnel_after_101_with_half_close(world: World) -> None:
    _, address = await world.backend(switch)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(UPGRADE + b"early ")
    answer = await read_message(reader)
    assert answer.status == 101
    assert (answer.get("Upgrade"), answer.get("Connection"), answer.get("X-A")) == (
        "websocket",
        "upgrade",
        "1",
    )
    assert await reader.readexactly(11) == b"helloEARLY "
    big = b"x" * (3 << 20)
    writer.write(big)
    assert await soon(reader.readexactly(len(big))) == big.upper()
    assert world.server.status()["tunnels"] == 1
    writer.write_eof()
    assert await soon(reader.read()) == b"bye"
    await world.until(lambda: world.server.status()["tunnels"] == 0)
    assert world.server.status()["upstreams"] == {}
    assert [record["status"] for record in world.events("request")] == [101]


async def test_an_upgrade_that_is_declined_is_an_ordinary_request(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    reader, writer = await world.connect()
    for _ in range(2):
        writer.write(UPGRADE)
        assert (await read_message(reader)).status == 200
    assert backend.connections == 1


@patiently(0.1, 1, 10)
async def test_an_idle_tunnel_ends(limit: float, world: World) -> None:
    _, address = await world.backend(switch)
    await world.serve(address, read_timeout=limit)
    reader, writer = await world.connect()
    writer.write(UPGRADE)
    answer = await read_message(reader)
    if answer.status == 504:  # the limit is that of the answer, too
        raise TooLate
    assert answer.status == 101
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await soon(reader.readexactly(100))


async def test_a_change_under_traffic(world: World) -> None:
    """Requests never fail while the upstream changes; the connection goes on with the new one."""
    one, first = await world.backend(name="one")
    _, second = await world.backend(name="two")
    await world.serve(first)
    reader, writer = await world.connect()
    names = []
    for n in range(40):
        if n == 20:
            await world.serve(second)
        writer.write(GET)
        names.append((await read_message(reader)).body)
    assert names == [b"one:"] * 20 + [b"two:"] * 20
    await soon(one.ended.wait())  # its idle connection was closed
    assert list(world.server.status()["upstreams"]) == [second]


async def test_a_request_under_way_survives_a_change(world: World) -> None:
    go = asyncio.Event()

    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        await go.wait()
        writer.write(http(b"old"))
        await reader.read()

    old, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(GET)
    await world.until(lambda: len(world.events("proxy-connect")) == 1)
    await world.configure(rules=[], upstreams={})
    go.set()
    assert (await read_message(reader)).body == b"old"
    await soon(old.ended.wait())
    writer.write(GET)
    assert (await read_message(reader)).status == 404


async def test_listeners_come_and_go(world: World) -> None:
    reader, writer = await world.connect()
    key, sock = listener()
    port = sock.getsockname()[1]
    (old,) = world.config["listen"]
    await world.tell({**world.config, "listen": [key]}, {key: sock})
    with pytest.raises(ConnectionError):
        await world.connect()
    writer.write(GET)
    assert (await read_message(reader)).status == 404
    world.port = port
    assert (await world.get()).status == 404
    with pytest.raises(ValueError, match="no socket"):
        await world.tell({**world.config, "listen": [old, key]}, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"options": {"conect_timeout": 1}},
        {"upstreams": {"u": {"servers": ["nonsense"]}}},
        {"upstreams": {"u": {"servers": [], "balance": "dice"}}},
        {"rules": [{"path_type": "Regex", "upstream": "u"}]},
        {"tls_listen": ["tcp/127.0.0.1/1"]},
    ],
)
async def test_a_wrong_configuration_changes_nothing(world: World, wrong: dict[str, Any]) -> None:
    _, address = await world.backend()
    await world.serve(address)
    with pytest.raises(ValueError):
        await world.tell({**world.config, **wrong}, {})
    assert (await world.get()).status == 200


async def test_closing_lets_requests_end(world: World) -> None:
    go = asyncio.Event()

    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        await go.wait()
        writer.write(http(b"last"))

    _, address = await world.backend(handler)
    await world.serve(address)
    idle, _writer = await world.connect()
    reader, writer = await world.connect()
    writer.write(GET)
    await world.until(lambda: len(world.events("proxy-connect")) == 1)
    closing = asyncio.create_task(world.server.close(grace=2 * LONG))
    assert await soon(idle.read()) == b""
    assert not closing.done()
    go.set()
    answer = await read_message(reader)
    assert (answer.body, answer.get("Connection")) == (b"last", "close")
    await soon(closing)
    with pytest.raises(ConnectionError):
        await world.connect()


async def test_closing_without_grace_ends_everything(world: World) -> None:
    async def handler(backend: Backend, reader: Any, _writer: Any, _number: int) -> None:
        backend.requests.append(await read_message(reader))
        await reader.read()

    backend, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(GET)
    await world.until(lambda: len(backend.requests) == 1)
    await world.server.close()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await soon(reader.readexactly(1))
    await soon(backend.ended.wait())
