"""`Lab.request` and the exchange behind it, over loopback: what the server sees, and what a failure is."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from loopback import closed_port
from patience import LONG

from emulab.errors import PeerError, UserError
from emulab.python import Lab

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nok"


class Nearby(Lab):
    """A lab whose client is this process, and in which every name is loopback's."""

    def __init__(self) -> None:
        super().__init__([], "nearby")

    async def resolve_all(self, *_: Any, **__: Any) -> list[str]:
        return ["127.0.0.1"]

    async def socket(self, *_: Any, **__: Any) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        return sock


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def answering(answer: bytes, heard: list[bytes]) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(2) if b"Content-Length: 2" in head else b""
        heard.append(head + body)
        writer.write(answer)
        writer.close()

    return serve


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (
            {},
            "GET /c%20d?x=%C3%BC HTTP/1.1|Host: n.test:PORT|Accept: */*|User-Agent: emulab|Connection: close||",
        ),
        (
            {"method": "post", "body": b"hi", "headers": {"X-B": "ü"}},
            "POST /c%20d?x=%C3%BC HTTP/1.1|Host: n.test:PORT|X-B: ü|Accept: */*|User-Agent: emulab|"
            "Content-Length: 2|Content-Type: application/octet-stream|Connection: close||hi",
        ),
        (
            {"method": "PUT", "headers": {"host": "other", "User-Agent": "me", "Accept": "a/b"}},
            "PUT /c%20d?x=%C3%BC HTTP/1.1|host: other|User-Agent: me|Accept: a/b|Content-Length: 0|"
            "Content-Type: application/octet-stream|Connection: close||",
        ),
    ],
)
async def test_what_the_server_sees(arguments: dict[str, Any], seen: str) -> None:
    heard: list[bytes] = []
    async with serving(answering(ANSWER, heard)) as port:
        answer = await Nearby().request(f"http://N.test:{port}/c d?x=ü#part", **arguments)
        assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"ok", "2")
    assert heard[0].decode().replace("\r\n", "|").replace(f":{port}", ":PORT") == seen


async def test_a_head_has_no_body_and_a_user_is_told() -> None:
    heard: list[bytes] = []
    async with serving(answering(ANSWER.removesuffix(b"ok"), heard)) as port:
        assert (await Nearby().request(f"http://u:p%40@n.test:{port}", method="HEAD")).body == b""
    assert (
        heard[0].startswith(b"HEAD / HTTP/1.1\r\n") and b"\r\nAuthorization: Basic dTpwQA==\r\n" in heard[0]
    )


async def test_an_answer_counts_though_nobody_reads_the_body() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.transport.abort()

    async with serving(refuse) as port:
        assert (
            await Nearby().request(f"http://n.test:{port}/", method="POST", body=bytes(1 << 24))
        ).status == 413


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", OSError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", OSError),
        (b"SSH-2.0-x\r\n", PeerError),
    ],
)
async def test_an_answer_that_is_none(answer: bytes, error: type[Exception]) -> None:
    async with serving(answering(answer, [])) as port:
        with pytest.raises(error):
            await Nearby().request(f"http://n.test:{port}/")


async def test_failures() -> None:
    with pytest.raises(ConnectionRefusedError):
        await Nearby().request(f"http://n.test:{closed_port()}/")
    for wrong in ("n.test/x", "ftp://n.test/", "http:///x"):
        with pytest.raises(UserError, match="not a URL"):
            await Nearby().request(wrong)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with serving(silent) as port:
        with pytest.raises(TimeoutError):
            await Nearby().request(f"http://n.test:{port}/", timeout=0.1)

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS\r\n")
        await reader.read()
        writer.close()

    async with serving(plain) as port:
        with pytest.raises(ssl.SSLError):
            await Nearby().request(f"https://n.test:{port}/", timeout=LONG)
