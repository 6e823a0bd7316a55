"""What an ingress that ends has said, at slow clients on the loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

import pytest
import test_ingress_harness as harness
from patience import LONG, soon
from test_ingress_harness import Backend, World, http, read_head
from test_ingress_tls import listen_tls

from emulab.kernel.lastbytes import any_unacknowledged
from emulab.servers.lastbytes import until_sent

world = harness.world
SIZE = 400_000


def _connect(port: int) -> socket.socket:
    """A client whose kernel takes little that it doesn't read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(LONG)
    client.connect(("127.0.0.1", port))
    return client


async def test_an_ingress_stays_until_its_answers_have_arrived(world: World) -> None:
    """Its network would take them along: what is sent to a slow client lies in the kernel, behind a closed socket."""

    async def large(_: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        await read_head(reader)
        writer.write(http(b"x" * SIZE))
        await writer.drain()

    _, address = await world.backend(large)
    await world.serve(address)
    client = await asyncio.to_thread(_connect, world.port)
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    came = await asyncio.to_thread(client.recv, 1000)
    closing = asyncio.ensure_future(world.server.close(LONG))

    def read_slowly() -> int:
        size = len(came)
        while data := client.recv(2000):
            size += len(data)
            time.sleep(0.001)
            if closing.done():
                break
        return size + sum(len(data) for data in iter(lambda: client.recv(1 << 16), b""))

    reading = asyncio.create_task(asyncio.to_thread(read_slowly))
    await soon(closing)
    assert not any_unacknowledged({world.port})
    assert await soon(reading) > SIZE
    client.close()


@pytest.mark.parametrize("tls", [False, True])
async def test_who_goes_on_behind_its_last_request_is_not_reset(world: World, tls: bool) -> None:
    """Many clients look at nothing that came before a reset, least of all who writes in pieces."""
    _, address = await world.backend()
    await world.serve(address)
    port = await listen_tls(world) if tls else world.port

    def talk() -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", port), timeout=LONG) as plain:
            client = context.wrap_socket(plain) if tls else plain
            client.sendall(b"GET / HTTP/1.0\r\nHost: h\r\n\r\nGET /ne")
            came = client.recv(1 << 16)
            for _ in range(3):
                client.sendall(b"more")
                time.sleep(0.01)
            came += b"".join(iter(lambda: client.recv(1 << 16), b""))
            client.close()
            return came

    assert (await asyncio.to_thread(talk)).startswith(b"HTTP/1.1 200 OK")


async def test_a_client_that_ends_with_its_answer_gets_all_chunks(world: World) -> None:
    async def unmeasured(
        _: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int
    ) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        writer.close()

    _, address = await world.backend(unmeasured)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    came = await soon(reader.read())
    assert came.endswith(b"5\r\nhello\r\n0\r\n\r\n")
    writer.close()


async def test_who_never_reads_keeps_nobody_for_longer_than_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        client = await asyncio.to_thread(_connect, port)
        server, _ = listening.accept()
    server.setblocking(False)
    server.send(b"x" * SIZE)
    server.close()
    began = time.monotonic()
    await until_sent({port}, 0.3)
    assert time.monotonic() - began >= 0.3 and any_unacknowledged({port})
    await until_sent({port + 1}, LONG)
    client.close()
    await soon(until_sent({port}, LONG))
