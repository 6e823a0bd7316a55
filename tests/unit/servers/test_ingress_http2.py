"""HTTP/2 on the loopback, by the clients and servers that people use: curl, h2load, gRPC's own."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import test_ingress_harness as harness
from patience import LONG, soon, until
from test_ingress_harness import Backend, World, http, read_head, routed
from test_ingress_tls import certificate, listen_tls, run

world = harness.world


async def _repeat(request: bytes, _context: Any) -> bytes:
    return request * 2


async def _count(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number
    context.set_trailing_metadata((("x-counted", request.decode()),))


async def _join(requests: AsyncIterator[bytes], _context: Any) -> bytes:
    return b"".join([one async for one in requests])


async def _talk(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    async for one in requests:
        yield b"re: " + one


async def _refuse(_request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such thing")
    raise AssertionError


@asynccontextmanager
async def grpc_server(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[str]:
    """The address of a server of gRPC."""
    server = grpc.aio.server()
    handlers = {
        "Repeat": grpc.unary_unary_rpc_method_handler(_repeat),
        "Count": grpc.unary_stream_rpc_method_handler(_count),
        "Join": grpc.stream_unary_rpc_method_handler(_join),
        "Talk": grpc.stream_stream_rpc_method_handler(_talk),
        "Refuse": grpc.unary_unary_rpc_method_handler(_refuse),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    where = "127.0.0.1:0"
    port = (
        server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
    )
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def lead(world: World, address: str, **policy: Any) -> None:
    """Everything goes to a server, by this policy."""
    world.config = {**world.config, "rules": []}
    config = routed(**world.config)
    route = {"match": {"path_type": "Prefix"}, "backends": [{"upstream": "up"}], "policy": policy}
    await world.server.configure(
        {**config, "routes": [route], "upstreams": {"up": {"servers": [address]}}}, {}
    )


async def _talk_grpc(channel: grpc.aio.Channel) -> None:
    """Every kind of call, and what it answers."""
    assert await channel.unary_unary("/test.Test/Repeat")(b"ab") == b"abab"
    large = await channel.unary_unary("/test.Test/Repeat")(b"x" * 300_000)
    assert large == b"x" * 600_000
    counting = channel.unary_stream("/test.Test/Count")(b"200")
    assert [int(one) async for one in counting] == list(range(200))
    assert dict(await counting.trailing_metadata()) == {"x-counted": "200"}

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"y" * 5000

    assert await channel.stream_unary("/test.Test/Join")(pieces()) == b"y" * 250_000
    talking = channel.stream_stream("/test.Test/Talk")()
    for number in range(3):
        await talking.write(b"%d" % number)
        assert await talking.read() == b"re: %d" % number
    await talking.done_writing()
    assert await talking.read() is grpc.aio.EOF
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary("/test.Test/Refuse")(b"")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == "there is no such thing"
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await channel.unary_unary("/test.Test/Nothing")(b"")
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_grpc_through_the_proxy_without_tls(world: World) -> None:
    async with grpc_server() as address:
        await lead(world, address, reach={"protocol": "GRPC"})
        async with grpc.aio.insecure_channel(f"127.0.0.1:{world.port}") as channel:
            await soon(_talk_grpc(channel))
    status = world.server.status()
    assert status["accepted"] == 1 and status["connects"] == 7
    told = world.events("request")
    assert {one["version"] for one in told} == {"2.0"} and {one["status"] for one in told} == {200}


async def test_grpc_over_tls_to_servers_of_tls(world: World) -> None:
    own = certificate("h.test")
    credentials = grpc.ssl_server_credentials([(own["key"].encode(), own["certificate"].encode())])
    front = certificate("front.test")
    async with grpc_server(credentials) as address:
        port = await listen_tls(world, front)
        await lead(world, address, reach={"protocol": "GRPCS"})
        trusted = grpc.ssl_channel_credentials(front["certificate"].encode())
        options = [("grpc.ssl_target_name_override", "front.test")]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trusted, options) as channel:
            await soon(_talk_grpc(channel))


async def test_errors_of_our_own_are_plain_http(world: World) -> None:
    await lead(world, harness.free_address(), reach={"protocol": "GRPC"})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await soon(channel.unary_unary("/test.Test/Repeat")(b"ab"))
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE and "502" in (failed.value.details() or "")


async def test_a_call_that_is_left_ends_at_the_server(world: World) -> None:
    ended = asyncio.Event()

    async def endless(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    server = grpc.aio.server()
    handlers = {"Endless": grpc.unary_stream_rpc_method_handler(endless)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await lead(world, f"127.0.0.1:{port}", reach={"protocol": "GRPC"})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{world.port}") as channel:
        call = channel.unary_stream("/test.Test/Endless")(b"")
        assert await soon(call.read()) == b"x" * 1000
        call.cancel()
        await soon(ended.wait())
    await until(lambda: world.events("request")[-1]["status"] == 499)
    await server.stop(0)


async def test_many_streams_of_one_connection(world: World) -> None:
    _, address = await world.backend()
    await world.serve(address)
    out = await run("h2load", "-n", "300", "-c", "2", "-m", "20", f"http://127.0.0.1:{world.port}/")
    assert "300 succeeded, 0 failed, 0 errored" in out, out
    assert world.server.status()["accepted"] == 2


async def test_a_large_answer_to_a_slow_reader_stops_the_server(world: World) -> None:
    sent = 0

    async def endless(
        _: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int
    ) -> None:
        nonlocal sent
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    _, address = await world.backend(endless)
    await world.serve(address)
    process = await asyncio.create_subprocess_exec(
        *("curl", "-s", "--http2-prior-knowledge", "--limit-rate", "10k", "-o", "/dev/null"),
        f"http://127.0.0.1:{world.port}/",
    )
    try:
        before = 0
        async with asyncio.timeout(LONG):
            while not sent or sent != before:
                before = sent
                await asyncio.sleep(0.3)
        assert sent < 60_000_000
    finally:
        process.kill()
        await process.wait()


async def test_a_connection_ends_in_good_order(world: World) -> None:
    _, address = await world.backend()
    await world.serve(address, keepalive_requests=3)
    url = f"https://127.0.0.1:{await listen_tls(world)}/"
    out = await run("curl", "-sk", "--http2", "-w", "%{http_code}/%{num_connects} ", *[url] * 7)
    assert re.findall(r"200/\d", out) == ["200/1", "200/0", "200/0", "200/1", "200/0", "200/0", "200/1"], out


# --- servers of TLS ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def https_server(pair: dict[str, Any], ask: str = "", tmp: Path | None = None) -> AsyncIterator[str]:
    """A server of HTTPS that answers with who its client said it was; `ask`: for certificates signed by this one."""
    assert tmp is not None
    (tmp / "cert.pem").write_text(pair["certificate"] + pair["key"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp / "cert.pem")
    if ask:
        context.load_verify_locations(cadata=ask)
        context.verify_mode = ssl.CERT_OPTIONAL
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await read_head(reader)
                peer = writer.get_extra_info("peercert") or {}
                said = [value for part in peer.get("subject", ()) for _, value in part]
                text = f"{names[-1]} {said} {writer.get_extra_info('cipher')[1]}"
                writer.write(http(text.encode()))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_servers_of_tls_aren_t_asked_who_they_are(world: World, tmp_path: Path) -> None:
    async with https_server(certificate("any.test"), tmp=tmp_path) as address:
        await lead(world, address, reach={"protocol": "HTTPS"})
        for _ in range(2):
            assert (await world.get()).body == b"None [] TLSv1.3"
        assert world.server.status()["opened"] == 1, "the connection is kept"
        await lead(world, address, reach={"protocol": "AUTO_HTTP"})
        assert (await world.get()).status == 502, "plain HTTP for a plain client"


@pytest.mark.parametrize(
    ("name", "told", "why"),
    [
        ("right.test", True, ""),
        ("right.test", False, ""),
        ("other.test", False, "upstream can't be reached over TLS: its certificate is not for other.test"),
    ],
)
async def test_certificates_of_servers_are_verified(
    world: World, tmp_path: Path, name: str, told: bool, why: str
) -> None:
    pair, ours = certificate("right.test"), certificate("me.test")
    tls = {
        "verify": True,
        "authorities": pair["certificate"],
        "name": name,
        "server_name": told,
        "protocols": ["TLSv1.2"],
        "certificate": ours["certificate"],
        "key": ours["key"],
    }
    async with https_server(pair, ours["certificate"], tmp_path) as address:
        await lead(world, address, reach={"protocol": "HTTPS", "tls": tls}, tries=1)
        answer = await world.get()
        if why:
            assert answer.status == 502 and world.events("request")[-1]["reason"] == why
        else:
            assert answer.body.decode() == f"{name if told else None} ['me.test'] TLSv1.2"


async def test_a_stranger_s_certificate_is_refused(world: World, tmp_path: Path) -> None:
    tls = {"verify": True, "authorities": certificate("right.test")["certificate"], "name": "right.test"}
    async with https_server(certificate("right.test"), tmp=tmp_path) as address:
        await lead(world, address, reach={"protocol": "HTTPS", "tls": tls}, tries=1)
        assert (await world.get()).status == 502
    assert (
        world.events("request")[-1]["reason"] == "upstream can't be reached over TLS: self-signed certificate"
    )


async def test_servers_are_asked_in_http_1_0(world: World) -> None:
    backend, address = await world.backend()
    await lead(world, address, http_version="1.0")
    body = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert (await world.ask(body)).body == b"b:abc"
    (seen,) = backend.requests
    assert seen.start == "POST / HTTP/1.0" and seen.get("Content-Length") == "3"
    assert seen.get("Transfer-Encoding") is None
