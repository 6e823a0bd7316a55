"""A proxy on the loopback, upstreams that do as they are told, and a client that sees every byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from loopback import bound, closed_port
from patience import soon, until
from server_records import Told

from emulab.servers.base import socket_key
from emulab.servers.l7.shell.server import create


@dataclass
class Message:
    """A request or a response, as it was on the wire."""

    start: str
    fields: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def status(self) -> int:
        return int(self.start.split()[1])


async def read_head(reader: asyncio.StreamReader) -> Message:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    return Message(lines[0], [(k, v.strip()) for k, _, v in (line.partition(":") for line in lines[1:])])


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readline() == b"\r\n"
    return b"".join(parts)


async def read_message(reader: asyncio.StreamReader, bodiless: bool = False) -> Message:
    message = await read_head(reader)
    response = message.start.startswith("HTTP/")
    if bodiless or (response and message.status in (101, 204, 304, 100)):
        return message
    if message.get("transfer-encoding") == "chunked":
        message.body = await read_chunks(reader)
    elif (length := message.get("content-length")) is not None:
        message.body = await reader.readexactly(int(length))
    elif response:
        message.body = await reader.read()
    return message


def http(body: bytes = b"", status: str = "200 OK", *fields: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields))
    return head.encode() + b"\r\n" + body


Handler = Callable[["Backend", asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


async def polite(
    backend: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int
) -> None:
    """Answers every request with its own name and the request's body."""
    while True:
        request = await read_message(reader)
        backend.requests.append(request)
        writer.write(http(backend.name.encode() + b":" + request.body))


class Backend:
    """An upstream server. `handler` gets each connection with its number, from 0."""

    def __init__(self, name: str, handler: Handler) -> None:
        self.name, self.handler = name, handler
        self.requests: list[Message] = []
        self.connections = 0
        self.ended = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        self.writers.append(writer)
        try:
            await self.handler(self, reader, writer, number)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended.set()
            writer.close()

    async def start(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        host, port = self.server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"


def listener() -> tuple[str, socket.socket]:
    sock = bound()
    return socket_key("tcp", *sock.getsockname()), sock


def free_address() -> str:
    """An address on which nothing listens."""
    return f"127.0.0.1:{closed_port()}"


POLICY = {
    "client_max_body": "body_max",
    **{
        n: n
        for n in (
            "body_timeout",
            "connect_timeout",
            "read_timeout",
            "send_timeout",
            "response_head_max",
            "limit_rate",
            "limit_rate_after",
            "tries",
        )
    },
}


def routed(rules: list[dict[str, Any]], options: dict[str, Any], **others: Any) -> dict[str, Any]:
    """The configuration of a proxy by rules, and options of which some are each rule's policy, in one line each."""
    policy = {POLICY[name]: value for name, value in options.items() if name in POLICY}
    policy.setdefault("request_buffer", 0)  # bodies that are gathered first have tests of their own
    routes = [
        {
            "match": {name: rule[name] for name in ("host", "path", "path_type") if name in rule},
            "backends": [{"upstream": rule["upstream"]}],
            "origin": rule.get("origin", ""),
            "filters": rule.get("filters", []),
            "policy": {**policy, "ssl_redirect": rule.get("ssl_redirect", False)},
        }
        for rule in rules
    ]
    rest = {name: value for name, value in options.items() if name not in POLICY}
    return {**others, "routes": routes, "policy": policy, "options": rest}


@dataclass
class World:
    """One proxy with what belongs to it."""

    records: Told = field(default_factory=Told)
    config: dict[str, Any] = field(default_factory=dict)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    backends: list[Backend] = field(default_factory=list)

    async def start(self) -> None:
        self.server = create(self.records)
        key, sock = listener()
        self.port = sock.getsockname()[1]
        self.config = {
            "listen": [key],
            "tls_listen": [],
            "rules": [],
            "default_upstream": None,
            "upstreams": {},
            "certificates": [],
            "options": {},
        }
        await self.tell(self.config, {key: sock})

    async def tell(self, config: dict[str, Any], sockets: dict[str, socket.socket]) -> None:
        await self.server.configure(routed(**config), sockets)

    async def configure(self, **changes: Any) -> None:
        self.config = {**self.config, **changes}
        await self.tell(self.config, {})

    async def serve(self, *servers: str, host: str = "", path: str = "/", **options: Any) -> None:
        """One rule, one upstream."""
        rule = {"host": host, "path": path, "path_type": "Prefix", "upstream": "up", "origin": "Ingress d/i"}
        await self.configure(rules=[rule], upstreams={"up": {"servers": list(servers)}}, options=options)

    async def backend(self, handler: Handler = polite, name: str = "b") -> tuple[Backend, str]:
        backend = Backend(name, handler)
        self.backends.append(backend)
        return backend, await backend.start()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        self.writers.append(writer)
        return reader, writer

    async def ask(self, data: bytes, bodiless: bool = False) -> Message:
        """Sends one request on a connection of its own."""
        reader, writer = await self.connect()
        writer.write(data)
        message = await soon(read_message(reader, bodiless))
        writer.close()
        return message

    async def get(self, path: str = "/", *fields: str, host: str = "h") -> Message:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]
        return await self.ask("\r\n".join(lines).encode())

    def events(self, name: str) -> list[dict[str, Any]]:
        return self.records.of(name)

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition)

    async def stop(self) -> None:
        for writer in self.writers:
            writer.close()
        await self.server.close()
        for backend in self.backends:
            backend.server.close()
            for writer in backend.writers:
                writer.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start()
    yield world
    await world.stop()


async def test_the_harness_reaches_its_proxy(world: World) -> None:
    assert (await world.get()).status == 404
    assert world.server.status()["requests"] == 1
