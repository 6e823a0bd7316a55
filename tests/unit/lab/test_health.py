"""gRPC's health: what is asked and answered, between our own client, our stand-in and an HTTP/2 of others (h2)."""

from __future__ import annotations

import asyncio
import socket

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from emulab.kernel import sockets
from emulab.kinds.core.probespec import Probe
from emulab.lab.kubelet.health import CHECK, judged, message
from emulab.lab.kubelet.probes import Aim, Verdict, attempt
from emulab.servers.echo.grpchealth import GRPCHealth

SERVING = b"\x00\x00\x00\x00\x02\x08\x01"
OK = {":status": "200", "grpc-status": "0"}


def test_the_question() -> None:
    assert message("") == bytes(5)
    assert message("ab") == b"\x00\x00\x00\x00\x04\x0a\x02ab"
    assert message("x" * 200)[:8] == b"\x00\x00\x00\x00\xcb\x0a\xc8\x01"


@pytest.mark.parametrize(
    ("fields", "body", "well", "said"),
    [
        (OK, SERVING, True, "service healthy"),
        (OK, SERVING[:-1] + b"\x02", False, 'service unhealthy (responded with "NOT_SERVING")'),
        (OK, bytes(5), False, 'service unhealthy (responded with "UNKNOWN")'),
        (
            {":status": "200", "grpc-status": "12", "grpc-message": "unknown service"},
            b"",
            False,
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service",
        ),
        (
            {":status": "200", "grpc-status": "5", "grpc-message": "unknown service x"},
            b"",
            False,
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service x",
        ),
        (
            {":status": "200", "grpc-status": "4"},
            b"",
            False,
            "timeout: health rpc did not complete within 1s",
        ),
        (
            {":status": "404"},
            b"",
            False,
            "error: health rpc probe failed: rpc error: code = Unknown desc = unexpected HTTP status code received"
            " from server: 404",
        ),
    ],
)
def test_the_answer(fields: dict[str, str], body: bytes, well: bool, said: str) -> None:
    assert judged(fields, body, "1s") == (well, said)


def test_a_stand_in_serves_and_implements_nothing_else() -> None:
    client, server = H2Connection(H2Configuration(header_encoding="utf-8")), GRPCHealth()
    client.initiate_connection()
    for stream, (path, kind) in enumerate(
        [(CHECK, "application/grpc"), ("/a.B/C", "application/grpc+proto"), ("/", "text/plain")]
    ):
        head = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "a"}
        client.send_headers(2 * stream + 1, [*head.items(), ("content-type", kind)])
        client.send_data(2 * stream + 1, message(""), end_stream=True)
    heads: dict[int, dict[str, str]] = {}
    for event in client.receive_data(server.feed(client.data_to_send())):
        if headers := getattr(event, "headers", None):
            heads.setdefault(event.stream_id, {}).update(headers)
    answers = [(h[":status"], h.get("grpc-status")) for h in heads.values()]
    assert answers == [("200", "0"), ("200", "12"), ("505", None)]
    assert server.paths == [(CHECK, 200), ("/a.B/C", 200), ("/", 505)] and not server.closed
    server.feed(bytes(9))  # DATA of no stream
    assert server.closed


def open_socket(_: int, family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock


async def no_command(_: tuple[str, ...]) -> tuple[int, str]:
    raise AssertionError


async def probed(
    monkeypatch: pytest.MonkeyPatch, serve: object, timeout: float = 60.0
) -> tuple[Verdict, int]:
    monkeypatch.setattr(sockets, "open_socket", open_socket)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:  # type: ignore[arg-type]
        port = server.sockets[0].getsockname()[1]
        probe = Probe(None, None, None, 0, 1, timeout, 1, 1, grpc_port=port, grpc_service="db")
        return await attempt(probe, Aim(-1, "127.0.0.1", lambda _: None, no_command)), port


async def test_a_probe_of_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        health = GRPCHealth()
        while data := await reader.read(1 << 16):
            writer.write(health.feed(data))
        writer.close()

    assert (await probed(monkeypatch, serve))[0] == (True, "service healthy")


async def test_a_probe_asks_for_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        while data := await reader.read(1 << 16):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    asked.append(dict(event.headers))
                    fields = [(":status", "200"), ("grpc-status", "5"), ("grpc-message", "unknown service")]
                    connection.send_headers(event.stream_id, fields, end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()

    verdict, port = await probed(monkeypatch, serve)
    assert verdict == (
        False,
        "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
    )
    assert asked == [
        {
            ":method": "POST",
            ":scheme": "http",
            ":path": CHECK,
            ":authority": f"127.0.0.1:{port}",
            "content-type": "application/grpc",
            "user-agent": "kube-probe/1.35",
            "te": "trailers",
        }
    ]


async def test_who_answers_something_else_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    verdict, _ = await probed(monkeypatch, plain)
    assert verdict.success is False and verdict.output.startswith("error: health rpc probe failed: ")
    verdict, _ = await probed(monkeypatch, mute, 0.2)
    assert verdict == (False, "timeout: health rpc did not complete within 200ms")
    probe = Probe(None, None, None, 0, 1, 1, 1, 1, grpc_port=1)
    assert await attempt(probe, Aim(-1, "127.0.0.1", lambda _: None, no_command)) == (
        False,
        'timeout: failed to connect service "127.0.0.1:1" within 1s: context deadline exceeded',
    )
