"""The stand-ins' server where it plays programs, over loopback: raw TCP, UDP, dialling, and ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from loopback import bound
from server_records import Told
from serverloop import on_uvloop

from emulab.servers.echo.server import EchoServer


@asynccontextmanager
async def playing(says: str, container: str = "c") -> AsyncIterator[tuple[int, Told]]:
    """A server that plays something at one port, of TCP and of UDP; what it tells."""
    told = Told()
    server = EchoServer(told)
    stream = bound()
    port = stream.getsockname()[1]
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", port))
    sockets = {f"tcp/127.0.0.1/{port}": stream, f"udp/127.0.0.1/{port}": datagrams}
    ways = {"says": says, "container": container}
    pod = {"namespace": "n", "pod": "p", "hostname": "h", "ports": {str(port): ways, f"udp/{port}": ways}}
    await server.configure({"listen": list(sockets), "identities": {"127.0.0.1": pod}}, sockets)
    try:
        yield port, told
    finally:
        await server.close()


async def get(port: int, path: str) -> tuple[str, bytes]:
    """The head and body of an answer, until the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 60)).partition(b"\r\n\r\n")
    writer.close()
    return head.decode(), body


async def eventually(check: Any) -> None:
    async with asyncio.timeout(60):
        while not check():
            await asyncio.sleep(0.01)


@on_uvloop
async def test_whoever_connects_is_greeted() -> None:
    async with playing("hostname-raw") as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 60) == b"h"
        writer.close()


@on_uvloop
async def test_a_program_that_exits_closes_its_connection_first() -> None:
    async with playing("netexec") as (port, told):
        assert await get(port, "/exit?code=7") == ("", b"")
        assert told.of("exit") == []
        await eventually(lambda: told.of("exit"))
        (exit_,) = told.of("exit")
        assert exit_ == {"event": "exit", "namespace": "n", "pod": "p", "container": "c", "status": 7}


@on_uvloop
async def test_others_are_dialled() -> None:
    async with playing("netexec") as (port, _), playing("hostname") as (other, _):
        query = f"/dial?request=any&host=127.0.0.1&port={other}"
        head, body = await get(port, f"{query}&tries=2")
        assert head.startswith("HTTP/1.1 200 OK") and json.loads(body) == {"responses": ["h", "h"]}
        assert json.loads((await get(port, f"{query}&protocol=udp"))[1]) == {"responses": ["h"]}
    async with playing("netexec") as (port, _):
        failed = json.loads((await get(port, query))[1])
        why = f'Get "http://127.0.0.1:{other}/any": dial tcp 127.0.0.1:{other}: connect: connection refused'
        assert failed == {"errors": [why]}


@on_uvloop
async def test_datagrams_are_answered_as_the_program_does() -> None:
    loop = asyncio.get_running_loop()
    async with playing("netexec") as (port, _):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", port))
            for sent, expected in (
                (b"echo Some Words", b"some words"),
                (b"unknown", None),
                (b"hostname", b"h"),
            ):
                await loop.sock_sendall(sock, sent)
                if expected is not None:
                    assert await asyncio.wait_for(loop.sock_recv(sock, 100), 60) == expected
