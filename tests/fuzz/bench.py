"""Servers on the loopback, in the fuzzer's own loop, and clients that send in pieces."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import uvloop

from emulab.servers.base import Server, socket_key
from emulab.servers.records import Records

from .oracle import RequestOracle, Seen

T = TypeVar("T")
LONG = 60.0
"""Seconds after which a server that says nothing has forgotten its client."""


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def silent() -> Records:
    """What servers tell, to nobody."""
    return Records(lambda record: None)


def bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


async def configured(server: Server, config: dict[str, Any]) -> int:
    """The port on which the server listens now."""
    sock = bound()
    port: int = sock.getsockname()[1]
    key = socket_key("tcp", "127.0.0.1", port)
    await server.configure({**config, "listen": [key]}, {key: sock})
    return port


class Strict:
    """A backend that reads strictly, answers with what it was asked, and remembers it."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.malformed: list[str] = []

    def connection(self) -> RequestOracle:
        return RequestOracle(self.answer, self.malformed.append)

    def answer(self, seen: Seen, connection: RequestOracle) -> None:
        self.seen.append(seen)
        body = b"" if seen.method == b"HEAD" else seen.target
        connection.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen.target), body)
        )


@asynccontextmanager
async def proxied(backend: Strict) -> AsyncIterator[int]:
    """The port of an ingress before the backend."""
    from emulab.servers.l7.shell.server import create

    sock = bound()
    listener = await asyncio.get_running_loop().create_server(backend.connection, sock=sock)
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    server = create(silent())
    route = {"match": {"path_type": "Prefix"}, "backends": [{"upstream": "up"}]}
    try:
        yield await configured(server, {"routes": [route], "upstreams": {"up": {"servers": [address]}}})
    finally:
        await server.close()
        listener.close()


async def exchange(port: int, data: bytes, random: Random) -> bytes:
    """Sends the bytes in a few pieces, and returns all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((0, 0, 1, 3))))
    received = b""
    try:
        async with asyncio.timeout(LONG):
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                if not writer.is_closing():  # a server that refuses the first piece needn't hear the last
                    writer.write(data[start:end])
                await asyncio.sleep(0)
            while piece := await reader.read(1 << 16):
                received += piece
    except ConnectionError:
        pass
    except TimeoutError:
        raise AssertionError(f"the connection stays, without a word, after {data!r}") from None
    finally:
        writer.transport.abort()
    return received
