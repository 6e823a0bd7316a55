"""The echo stand-in over real sockets of the loopback, on uvloop as servers are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import time
from collections.abc import Awaitable
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from loopback import bound
from patience import LONG, TooLate, patiently, soon, standstill, until, within
from server_records import Told
from serverloop import on_uvloop, run_on_uvloop

from emulab.servers.echo import connection as connection_module
from emulab.servers.echo import datagrams
from emulab.servers.echo.answers import Identity
from emulab.servers.echo.connection import EchoConnection
from emulab.servers.echo.server import EchoListener, Hub, create
from emulab.servers.echo.websocket import frame, unmask


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have time to read and to ask, even on a machine that halts us."""
    monkeypatch.setattr(connection_module, "LINGER", LONG)
    monkeypatch.setattr(EchoConnection.retire, "__defaults__", (LONG,))  # FRESH, which it has taken over


def listener(address: str = "127.0.0.1", kind: str = "tcp") -> tuple[str, socket.socket]:
    """An open socket and its key."""
    sock = bound(address, kind)
    return f"{kind}/{address}/{sock.getsockname()[1]}", sock


class Bench:
    """A server with one TCP socket at 127.0.0.1 and what a test wants to know of it."""

    def __init__(self) -> None:
        self.records = Told()
        self.server = create(self.records)
        self.config: dict[str, Any] = {"listen": [], "identities": {}}
        self.clients: list[asyncio.StreamWriter] = []
        self.port = 0
        self.key = ""

    async def open(self, address: str = "127.0.0.1", kind: str = "tcp") -> int:
        key, sock = listener(address, kind)
        self.config["listen"] = [*self.config["listen"], key]
        port = int(key.rpartition("/")[2])
        entry = self.config["identities"].setdefault(address, {"namespace": "default", "ports": {}})
        entry |= {"pod": f"pod-{address}", "node": "node1", "pod_ip": address}
        entry["ports"][str(port)] = {"service": "product", "ingress": "shop"}
        await self.server.configure(self.config, {key: sock})
        return port

    async def connect(self, port: int = 0, address: str = "127.0.0.1") -> Client:
        reader, writer = await asyncio.open_connection(address, port or self.port, limit=2**20)
        self.clients.append(writer)
        return Client(reader, writer)


class Client:
    """A plain HTTP client that hides nothing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def get(self, path: str, headers: str = "", method: str = "GET") -> None:
        self.send(f"{method} {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode())

    async def answer(self, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        size = 0 if head else int(fields.get("content-length", 0))
        return int(lines[0].split()[1]), fields, await self.reader.readexactly(size)

    async def ended(self) -> bool:
        """Whether nothing but the end comes; raises on a reset."""
        return await self.reader.read() == b""

    def close(self) -> None:
        self.writer.close()


@contextlib.asynccontextmanager
async def bench():
    made = Bench()
    made.port = await made.open()
    made.key = made.config["listen"][0]
    try:
        yield made
    finally:
        await made.server.close()
        for writer in made.clients:
            writer.transport.abort()
        await asyncio.sleep(0)
        assert made.server.status()["connections"] == 0


@on_uvloop
async def test_keep_alive_and_identity_by_address() -> None:
    async with bench() as made:
        other = await made.open("127.0.0.2")
        for address, port in (("127.0.0.1", made.port), ("127.0.0.2", other)):
            client = await made.connect(port, address)
            for number in range(3):
                client.get(f"/{number}")
                status, fields, body = await client.answer()
                document = json.loads(body)
                assert (status, fields["content-type"]) == (200, "application/json")
                assert document["path"] == f"/{number}"
                assert (document["pod"], document["podIP"]) == (f"pod-{address}", address)
                assert (document["service"], document["port"]) == ("product", port)
                host, client_port = client.writer.get_extra_info("sockname")
                assert document["client"] == f"{host}:{client_port}"
            client.close()
        assert made.server.status()["requests"] == 6


@on_uvloop
async def test_pipelined_answers_keep_their_order() -> None:
    async with bench() as made:
        client = await made.connect()
        client.get("/delay/0.02")
        client.get("/bytes/300000")
        client.get("/hostname", method="HEAD")
        for number in range(100):
            client.get(f"/{number}")
        client.get("/last", headers="Connection: close\r\n")
        client.get("/never")
        assert json.loads((await client.answer())[2])["path"] == "/delay/0.02"
        assert (await client.answer())[2] == bytes(300000)
        status, fields, _ = await client.answer(head=True)
        assert (status, fields["content-length"]) == (200, "13")
        for number in range(100):
            assert json.loads((await client.answer())[2])["path"] == f"/{number}"
        _, fields, body = await client.answer()
        assert (json.loads(body)["path"], fields["connection"]) == ("/last", "close")
        assert await client.ended()


@on_uvloop
async def test_bodies_of_either_framing() -> None:
    async with bench() as made:
        client = await made.connect()
        client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n")
        client.send(bytes(3_000_000))
        client.send(b"POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(50):
            client.send(b"1000\r\n" + bytes(4096) + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert json.loads((await client.answer())[2])["bodyBytes"] == 3_000_000
        assert json.loads((await client.answer())[2])["bodyBytes"] == 50 * 4096


@on_uvloop
async def test_continue_is_sent_in_its_turn() -> None:
    async with bench() as made:
        client = await made.connect()
        client.get("/delay/0.02")
        client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert json.loads((await client.answer())[2])["path"] == "/delay/0.02"
        assert (await client.answer())[0] == 100
        client.send(b"ok")
        status, _, body = await client.answer()
        assert (status, json.loads(body)["bodyBytes"]) == (200, 2)


@on_uvloop
async def test_http_1_0() -> None:
    async with bench() as made:
        client = await made.connect()
        client.send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await client.answer())[1]["connection"] == "keep-alive"
        client.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await client.answer())[1]["connection"] == "close"
        assert await client.ended()


@on_uvloop
async def test_a_bad_request_is_answered_and_closed() -> None:
    async with bench() as made:
        client = await made.connect()
        client.get("/first")
        # More than the server reads at once: an early close would reset and lose the answer.
        client.send(b"SSH-2.0-OpenSSH\r\n" + bytes(1_000_000))
        assert (await client.answer())[0] == 200
        status, fields, _ = await client.answer()
        assert (status, fields["connection"]) == (400, "close")
        assert await client.ended()
        client.close()
        await until(lambda: made.server.status()["connections"] == 0)


@on_uvloop
async def test_a_client_that_lingers_after_an_error_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LINGER", 0.02)
    async with bench() as made:
        client = await made.connect()
        client.send(b"nonsense\r\n\r\n")
        assert (await client.answer())[0] == 400
        await until(lambda: made.server.status()["connections"] == 0)


@on_uvloop
async def test_half_close_still_gets_its_answers() -> None:
    async with bench() as made:
        client = await made.connect()
        client.get("/bytes/8000000")
        client.get("/healthz")
        client.writer.write_eof()
        assert len((await client.answer())[2]) == 8_000_000
        assert (await client.answer())[2] == b"ok"
        assert await client.ended()


@on_uvloop
async def test_a_delay_ends_with_its_client() -> None:
    async with bench() as made:
        for number, leave in enumerate(("close", "reset", "queued"), 1):
            client = await made.connect()
            if leave == "queued":
                client.get("/bytes/3000000")
            client.get("/delay/3600")
            if leave == "queued":
                client.writer.write_eof()
                await client.answer()
                with contextlib.suppress(ConnectionError):
                    await client.reader.read()
            else:
                await until(lambda number=number: made.server.status()["requests"] == number)  # type: ignore[misc]
                if leave == "reset":
                    sock = client.writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            await until(lambda: made.server.status()["connections"] == 0)


@on_uvloop
async def test_a_stream_waits_for_its_reader() -> None:
    async with bench() as made:
        slow, quick = await made.connect(), await made.connect()
        slow.writer.transport.pause_reading()
        slow.get("/bytes/10737418240")
        quick.get("/bytes/20000000")
        assert len((await quick.answer())[2]) == 20_000_000
        (stalled,) = [c for c in made.server._hub.connections if c._current is not None]  # type: ignore[attr-defined]
        await until(lambda: not stalled._writable)
        assert stalled._transport.get_write_buffer_size() < 1_000_000
        slow.writer.transport.abort()
        await until(lambda: made.server.status()["connections"] == 1)


class EagerTransport(asyncio.Transport):
    """Takes everything at once, as a socket with a quick reader does."""

    written = 0

    def write(self, data: Any) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False


@on_uvloop
async def test_a_stream_lets_others_have_their_turn() -> None:
    hub = Hub(Told())
    served = EchoConnection(EchoListener(hub, Identity("app", "pod", ""), False))
    transport = EagerTransport()
    served.connection_made(transport)
    served.data_received(b"GET /bytes/50000000 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert 0 < transport.written < 3_000_000
    await until(lambda: transport.written > 50_000_000)


@on_uvloop
async def test_a_client_that_does_not_read_is_not_read() -> None:
    async with bench() as made:
        client = await made.connect()
        client.writer.transport.pause_reading()
        request = b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: h\r\n\r\n"
        client.writer.transport.set_write_buffer_limits(high=0)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                client.send(request * 20)
                sent += 20
                await client.writer.drain()

        flooding = asyncio.ensure_future(flood())
        await until(lambda: len(made.server._hub.connections) == 1)  # type: ignore[attr-defined]
        (served,) = made.server._hub.connections  # type: ignore[attr-defined]
        await until(lambda: not served._reading)
        await standstill(lambda: sent)  # the client can't get rid of any more
        flooding.cancel()
        assert not served._reading
        assert served._transport.get_write_buffer_size() + len(served._reader.requests) * 5000 < 2_000_000
        client.writer.transport.resume_reading()
        for _ in range(sent):
            assert (await client.answer())[0] == 200


@on_uvloop
async def test_websocket() -> None:
    async with bench() as made:
        client = await made.connect()
        client.get("/warm-up")
        await client.answer()
        upgrade = "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        upgrade += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        mask = b"abcd"
        hello = b"\x81\x85" + mask + unmask(b"hello", mask)
        client.send(f"GET /any HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n".encode() + hello)
        status, fields, _ = await client.answer()
        assert (status, fields["sec-websocket-accept"]) == (101, "s3pplmbitxaq9kygzzhzrbk+xoo=")
        assert await client.reader.readexactly(7) == frame(1, b"hello")
        big = bytes(range(256)) * 4000
        client.send(b"\x82\xff" + struct.pack("!Q", len(big)) + mask + unmask(big, mask))
        assert await client.reader.readexactly(len(frame(2, big))) == frame(2, big)
        client.send(b"\x88\x82" + mask + unmask(b"\x03\xe8", mask))
        assert await client.reader.read() == frame(8, b"\x03\xe8")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Sec-WebSocket-Version: 13\r\n", 400),
        ("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n", 400),
        ("Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 426),
    ],
)
@on_uvloop
async def test_a_wrong_handshake_is_refused(headers: str, status: int) -> None:
    async with bench() as made:
        client = await made.connect()
        client.get("/", headers=f"Upgrade: websocket\r\nConnection: Upgrade\r\n{headers}")
        assert (await client.answer())[0] == status
        assert await client.ended()


@on_uvloop
async def test_a_websocket_is_told_of_the_end() -> None:
    async with bench() as made:
        client = await made.connect()
        client.get(
            "/",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        )
        assert (await client.answer())[0] == 101
        await made.server.close()
        assert await client.reader.read() == frame(8, b"\x03\xe9")


@on_uvloop
async def test_connections_of_a_pod_that_goes_are_ended_and_those_of_others_stay() -> None:
    async with bench() as made:
        port = await made.open("127.0.0.2")
        tunnel, busy, other = (
            await made.connect(),
            await made.connect(),
            await made.connect(port, "127.0.0.2"),
        )
        tunnel.get(
            "/",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        )
        assert (await tunnel.answer())[0] == 101
        busy.get("/delay/3600")
        await until(lambda: made.server.status()["requests"] == 2)
        assert made.server.order({"pod": ("default", "pod-127.0.0.1"), "now": False}) == {"requests": 1}
        assert await tunnel.reader.read() == frame(8, b"\x03\xe9")
        made.server.order({"pod": ("default", "pod-127.0.0.1"), "now": True})
        with contextlib.suppress(ConnectionResetError):
            assert await busy.ended()
        with pytest.raises(ConnectionRefusedError):
            await made.connect()
        await made.server.configure(made.config, {})  # it goes from the configuration later
        other.get("/")
        assert (await other.answer())[0] == 200
        other.get("/delay/3600")
        await until(lambda: made.server.status()["requests"] == 4)
        await made.open("127.0.0.3")
        assert made.server.order({"pod": ("default", "pod-127.0.0.3"), "now": False}) == {"requests": 0}
        assert made.server.order({"pod": ("default", "pod-127.0.0.2"), "now": True}) == {"requests": 1}


@on_uvloop
async def test_who_lives_anew_has_cut_everybody_off_and_refuses_until_then() -> None:
    async with bench() as made:
        there = {"pod": ("default", "pod-127.0.0.1"), "log": ""}
        idle, busy, server = await made.connect(), await made.connect(), made.server
        busy.get("/delay/3600")
        await until(lambda: server.status()["requests"] == 1)
        for _ in range(2):  # a second time nothing is left to be done
            said = server.order({**there, "lives": False})
            assert isinstance(said, Awaitable) and await said == {}
        for one in (idle, busy):
            with contextlib.suppress(ConnectionResetError):
                assert await one.ended()
        with pytest.raises(ConnectionRefusedError):
            await made.connect()
        await server.configure(made.config, {})
        with pytest.raises(ConnectionRefusedError):
            await made.connect()
        for _ in range(2):
            said = server.order({**there, "lives": True})
            assert isinstance(said, Awaitable) and await said == {}
        again = await made.connect()
        again.get("/")
        assert (await again.answer())[0] == 200


@pytest.mark.parametrize("ended", [{"now": True}, {"log": "", "lives": False}], ids=["gone", "silent"])
@on_uvloop
async def test_the_next_pod_at_a_nodes_address_and_port_is_there(ended: dict[str, Any]) -> None:
    """As of a DaemonSet with `hostNetwork`: one configuration has the one, and the next one the other."""
    async with bench() as made:
        said = made.server.order({"pod": ("default", "pod-127.0.0.1"), **ended})
        if isinstance(said, Awaitable):
            await said
        with pytest.raises(ConnectionRefusedError):
            await made.connect()
        made.config["identities"]["127.0.0.1"]["pod"] = "next"
        await made.server.configure(made.config, {})
        client = await made.connect()
        client.get("/")
        assert json.loads((await client.answer())[2])["pod"] == "next"


@on_uvloop
async def test_a_pod_that_is_back_under_its_name_is_there() -> None:
    """As of a StatefulSet with `hostNetwork`."""
    async with bench() as made:
        await made.server.configure({**made.config, "draining": [made.key]}, {})
        made.server.order({"pod": ("default", "pod-127.0.0.1"), "now": True})
        await made.server.configure(made.config, {})
        client = await made.connect()
        client.get("/")
        assert (await client.answer())[0] == 200


@on_uvloop
async def test_datagrams_are_told() -> None:
    async with bench() as made:
        port = await made.open("127.0.0.2", "udp")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.2", port))
            client.send(b"12345")
            await asyncio.get_running_loop().sock_recv(client, 10)
            assert made.records == [
                {
                    "event": "datagram",
                    "namespace": "default",
                    "pod": "pod-127.0.0.2",
                    "client": "{}:{}".format(*client.getsockname()),
                    "local": f"127.0.0.2:{port}",
                    "size": 5,
                }
            ]


@on_uvloop
async def test_udp_echoes_each_datagram() -> None:
    async with bench() as made:
        port = await made.open("127.0.0.2", "udp")
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.2", port))
            for payload in (b"one", b"", b"x" * 60000, b"two"):
                client.send(payload)  # uvloop's sock_sendall sends nothing for an empty one
                assert await loop.sock_recv(client, 65536) == payload
        made.config["listen"] = [made.key]
        await made.server.configure(made.config, {})
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.2", port))
            client.send(b"gone?")
            with pytest.raises(ConnectionRefusedError):
                await soon(loop.sock_recv(client, 10))


async def datagram_answer(port: int, payload: bytes, address: str) -> bytes:
    """What comes back for a datagram; ConnectionRefusedError where nobody has the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((address, port))
        client.send(payload)
        return await soon(asyncio.get_running_loop().sock_recv(client, 100))


def may_unbind() -> bool:
    """Whether this process may take an interface from a socket again: servers of a lab may."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(PermissionError):
        for interface in (1, 0):
            sock.setsockopt(socket.SOL_SOCKET, datagrams._SO_BINDTOIFINDEX, interface)
        return True
    return False


speaks_anew = pytest.mark.skipif(not may_unbind(), reason="without CAP_NET_RAW")


@speaks_anew
@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
@on_uvloop
async def test_who_does_not_live_refuses_datagrams_too(address: str) -> None:
    async with bench() as made:
        port = await made.open(address, "udp")
        made.config["logs"] = {address: "a_b_d"}
        await made.server.configure(made.config, {})
        there = {"pod": ("default", f"pod-{address}"), "log": "a_b_d"}
        for lives in (False, False, True, True, False):
            said = made.server.order({**there, "lives": lives})
            assert isinstance(said, Awaitable) and await said == {}
            if lives:
                assert await datagram_answer(port, b"there", address) == b"there"
            else:
                with pytest.raises(ConnectionRefusedError):
                    await datagram_answer(port, b"there?", address)
        await made.server.configure(made.config, {})
        with pytest.raises(ConnectionRefusedError):
            await datagram_answer(port, b"there?", address)
        made.config["identities"][address]["pod"] = "next"
        made.config["logs"] = {address: "a_next_d"}
        await made.server.configure(made.config, {})
        assert await datagram_answer(port, b"next", address) == b"next"


@speaks_anew
@on_uvloop
async def test_a_process_that_comes_in_anothers_place_refuses_for_who_does_not_live() -> None:
    async with bench() as made:
        server = create(Told())
        sockets = dict(listener("127.0.0.2", kind) for kind in ("tcp", "udp"))
        tcp, udp = (int(key.rpartition("/")[2]) for key in sockets)
        pod = {"namespace": "default", "pod": "p"}
        config = {"listen": [*sockets], "identities": {"127.0.0.2": pod}, "logs": {"127.0.0.2": "a_b_c"}}
        there = {"pod": ("default", "p"), "log": "a_b_c"}
        said = server.order({**there, "lives": False})
        assert isinstance(said, Awaitable) and await said == {}
        await server.configure(config, sockets)
        with pytest.raises(ConnectionRefusedError):
            await datagram_answer(udp, b"there?", "127.0.0.2")
        with pytest.raises(ConnectionRefusedError):
            await made.connect(tcp, "127.0.0.2")
        said = server.order({**there, "lives": True})
        assert isinstance(said, Awaitable) and await said == {}
        assert await datagram_answer(udp, b"there", "127.0.0.2") == b"there"
        (await made.connect(tcp, "127.0.0.2")).close()
        await server.close()


def unaware(fields: dict[str, str], delay: float, took: float) -> bool:
    """Whether an answer that took `delay` seconds is as if nothing had happened, for it took us as long to act."""
    return "connection" not in fields and took > delay


@on_uvloop
@patiently(1, 5, 20)
async def test_removing_a_socket_lets_requests_end(delay: float) -> None:
    async with bench() as made:
        port = await made.open("127.0.0.2")
        idle, busy, fresh, other = [await made.connect(port, "127.0.0.2") for _ in range(3)] + [
            await made.connect()
        ]
        idle.get("/healthz")
        await idle.answer()
        other.get("/healthz")
        await other.answer()
        since = time.monotonic()
        busy.get(f"/delay/{delay}")  # which is not over before we have done what is to come in between
        await until(lambda: made.server.status()["requests"] == 3)
        await until(lambda: made.server.status()["connections"] == 4)
        made.config["listen"] = [made.key]
        await made.server.configure(made.config, {})
        took = time.monotonic() - since
        assert await idle.ended()
        status, fields, _ = await busy.answer()
        if unaware(fields, delay, took):
            raise TooLate
        assert (status, fields["connection"]) == (200, "close")
        assert await busy.ended()
        fresh.get("/healthz")
        assert (await fresh.answer())[1]["connection"] == "close"
        assert await fresh.ended()
        with pytest.raises(ConnectionRefusedError):
            await made.connect(port, "127.0.0.2")
        other.get("/healthz")
        assert "connection" not in (await other.answer())[1]


@on_uvloop
async def test_a_connection_that_never_asks_is_closed_after_a_removal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench() as made:
        client = await made.connect()
        await until(lambda: made.server.status()["connections"] == 1)
        (served,) = made.server._hub.connections  # type: ignore[attr-defined]
        served.retire(0.01)
        assert await client.ended()


@on_uvloop
@patiently(1, 5, 20)
async def test_draining_goes_on_accepting(delay: float) -> None:
    async with bench() as made:
        idle, busy, fresh = [await made.connect() for _ in range(3)]
        idle.get("/healthz")
        await idle.answer()
        since = time.monotonic()
        busy.get(f"/delay/{delay}")  # which is not over before we have done what is to come in between
        await until(lambda: made.server.status()["requests"] == 2)
        await until(lambda: made.server.status()["connections"] == 3)
        made.config["draining"] = [made.key]
        await made.server.configure(made.config, {})
        took = time.monotonic() - since
        assert await idle.ended()
        for client in (busy, fresh, await made.connect()):
            if client is not busy:
                client.get("/healthz")
            status, fields, _ = await client.answer()
            if client is busy and unaware(fields, delay, took):
                raise TooLate
            assert (status, fields["connection"]) == (200, "close")
            assert await client.ended()
        made.config["draining"] = []
        await made.server.configure(made.config, {})
        client = await made.connect()
        client.get("/healthz")
        assert "connection" not in (await client.answer())[1]


@on_uvloop
async def test_identities_change_under_an_open_connection() -> None:
    async with bench() as made:
        client = await made.connect()
        client.get("/hostname")
        assert (await client.answer())[2] == b"pod-127.0.0.1"
        made.config["identities"]["127.0.0.1"]["pod"] = "renamed"
        await made.server.configure(made.config, {})
        client.get("/hostname")
        assert (await client.answer())[2] == b"renamed"


@on_uvloop
async def test_a_socket_given_anew_replaces_the_old_one() -> None:
    async with bench() as made:
        client = await made.connect()
        client.get("/healthz")
        await client.answer()
        key, sock = listener()
        # The same key in another network namespace, played by another port here.
        await made.server.configure(made.config, {made.key: sock})
        assert await client.ended()
        again = await made.connect(int(key.rpartition("/")[2]))
        again.get("/healthz")
        assert (await again.answer())[2] == b"ok"


@on_uvloop
async def test_a_wrong_configuration_changes_nothing() -> None:
    async with bench() as made:
        key, sock = listener("127.0.0.2")
        for listen in (["tcp/127.0.0.9/1"], ["sctp/127.0.0.1/1"], ["nonsense"]):
            with pytest.raises(ValueError, match=r"socket|unpack"):
                await made.server.configure({"listen": listen}, {})
        client = await made.connect()
        client.get("/healthz")
        assert (await client.answer())[2] == b"ok"
        await made.server.configure(made.config, {key: sock})
        assert sock.fileno() == -1  # one that isn't listed is closed


@on_uvloop
@patiently(1.5, 10, 40)
async def test_close_waits_for_its_grace(grace: float) -> None:
    async with bench() as made:
        quick, slow = await made.connect(), await made.connect()
        quick.get("/delay/0.03")
        slow.get("/delay/3600")
        await until(lambda: made.server.status()["requests"] == 2)
        with within(grace):
            closing = asyncio.create_task(made.server.close(grace))
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await made.connect()
            assert (await quick.answer())[0] == 200
            assert not closing.done()
        await closing
        with contextlib.suppress(ConnectionResetError):
            assert await slow.ended()


@on_uvloop
async def test_close_returns_as_soon_as_all_is_done() -> None:
    async with bench() as made:
        client = await made.connect()
        client.get("/delay/0.02")
        await until(lambda: made.server.status()["requests"] == 1)
        await soon(made.server.close(2 * LONG))
        assert (await client.answer())[0] == 200


@on_uvloop
async def test_requests_are_told_while_someone_listens() -> None:
    async with bench() as made:
        client = await made.connect()
        made.records.wanted = False
        client.get("/healthz")
        await client.answer()
        assert made.records == []
        made.records.wanted = True
        client.get("/status/404?a=b", method="DELETE")
        await client.answer()
        client.get("/delay/0.02")
        await client.answer()
        host, port = client.writer.get_extra_info("sockname")
        first, second = made.records
        assert first.pop("duration_us") > 0
        assert first == {
            "event": "request",
            "namespace": "default",
            "pod": "pod-127.0.0.1",
            "client": f"{host}:{port}",
            "local": "{}:{}".format(*client.writer.get_extra_info("peername")),
            "method": "DELETE",
            "path": "/status/404?a=b",
            "status": 404,
        }
        assert second["duration_us"] >= 19_000


@examples(15)
@given(st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=4))
def test_arbitrary_bytes_leave_the_server_well(pieces: list[bytes]) -> None:
    async def scenario() -> None:
        async with bench() as made:
            client = await made.connect()
            for piece in pieces:
                client.send(piece)
            client.writer.write_eof()
            await client.reader.read()
            client.close()
            good = await made.connect()
            good.get("/healthz")
            assert (await good.answer())[2] == b"ok"
            good.close()
            await until(lambda: made.server.status()["connections"] == 0)

    run_on_uvloop(scenario())


@on_uvloop
async def test_curl_as_the_client(tmp_path: Any) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(2_000_000))
    async with bench() as made:
        url = f"http://127.0.0.1:{made.port}"

        async def curl(*arguments: str) -> bytes:
            command = ["curl", "-sS", "--max-time", "30", *arguments]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
            return done.stdout

        both = await curl(
            "-w", "%{num_connects} ", f"{url}/healthz", "-w", "%{num_connects} ", f"{url}/hostname"
        )
        assert both == b"ok1 pod-127.0.0.10 "
        posted = await curl("-H", "Expect: 100-continue", "--data-binary", f"@{body}", f"{url}/up")
        assert json.loads(posted)["bodyBytes"] == 2_000_000
        chunked = await curl("-H", "Transfer-Encoding: chunked", "--data-binary", f"@{body}", f"{url}/up")
        assert json.loads(chunked)["bodyBytes"] == 2_000_000
        assert b"Content-Length: 2\r\n" in await curl("-I", f"{url}/healthz")
        assert await curl("-o", "/dev/null", "-w", "%{http_code}", f"{url}/status/503") == b"503"
        assert await curl("-o", "/dev/null", "-w", "%{size_download}", f"{url}/bytes/5000000") == b"5000000"
        assert json.loads(await curl("--http2", f"{url}/x"))["proto"] == "HTTP/1.1"
        assert json.loads(await curl("--http1.0", f"{url}/x"))["proto"] == "HTTP/1.0"
        assert json.loads(await curl("--http2", "-d", "abc", f"{url}/x"))["bodyBytes"] == 3


async def test_who_was_taken_in_the_very_moment_of_silence_is_cut_off() -> None:
    """Its pod's network may go at once, and with it everybody who could tell it."""
    loop = asyncio.get_running_loop()
    listener = EchoListener(Hub(lambda record: None), Identity("default", "web", ""), False)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        bound.setblocking(False)
        await listener.open(bound.dup())
        listener.refuse()
        ours, theirs = socket.socketpair()
        with ours:
            ours.settimeout(5)
            await loop.connect_accepted_socket(lambda: EchoConnection(listener), theirs)
            assert await asyncio.to_thread(ours.recv, 1) == b""
        listener.close()
