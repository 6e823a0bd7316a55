"""The last answer of a connection over HTTP/2 on the loopback, to a client that says more while it reads."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

import pytest
import test_ingress_harness as harness
from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, SettingsFrame, WindowUpdateFrame
from patience import LONG, soon
from test_ingress_harness import Backend, World, http, read_head
from test_ingress_http2 import lead
from test_ingress_tls import listen_tls

from emulab.servers.wire.http2 import PREFACE

world = harness.world

SIZE = 3_000_000
HEAD = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "h")]
ASK = b"".join(
    one.serialize()
    for one in (
        SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: SIZE}),
        WindowUpdateFrame(0, window_increment=SIZE),
        HeadersFrame(1, Encoder().encode(HEAD), flags=["END_STREAM", "END_HEADERS"]),
    )
)
MORE = WindowUpdateFrame(0, window_increment=1).serialize()


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _ask_and_read_slowly(port: int, tls: bool) -> tuple[int, bool]:
    """How much of the body comes, and whether its last frame says so. asyncio's TLS loses what it has at the end."""
    came = b""
    with socket.create_connection(("127.0.0.1", port), timeout=LONG) as plain:
        talk = _context().wrap_socket(plain) if tls else plain
        talk.sendall(PREFACE + ASK)
        while data := talk.recv(1 << 16):
            came += data
            talk.sendall(MORE)
            time.sleep(0.005)
        talk.close()
    size, ended = 0, False
    while came:
        frame, length = Frame.parse_frame_header(memoryview(came[:9]))
        if isinstance(frame, DataFrame):
            size, ended = size + length, "END_STREAM" in frame.flags
        came = came[9 + length :]
    return size, ended


@pytest.mark.parametrize("tls", [False, True])
async def test_the_last_answer_arrives_whole(world: World, tls: bool) -> None:
    async def large(_: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        await read_head(reader)
        writer.write(http(b"x" * SIZE))
        await writer.drain()

    _, address = await world.backend(large)
    await world.serve(address, keepalive_requests=1)
    port = await listen_tls(world) if tls else world.port
    async with asyncio.timeout(LONG):
        assert await asyncio.to_thread(_ask_and_read_slowly, port, tls) == (SIZE, True)


async def test_a_server_that_asks_without_end_and_reads_nothing_is_left(world: World) -> None:
    """Each PING has an answer, which waits for a server that takes none."""
    over = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(PREFACE)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        try:
            writer.write(SettingsFrame(0).serialize())
            while True:
                writer.write(PingFrame(0, opaque_data=b"are you?").serialize() * 1000)
                await writer.drain()
        except ConnectionError:
            over.set()
            writer.close()

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listening.bind(("127.0.0.1", 0))
    async with await asyncio.start_server(flood, sock=listening):
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        await lead(world, address, reach={"protocol": "GRPC"})
        assert (await world.get()).status == 502
        await soon(over.wait())
