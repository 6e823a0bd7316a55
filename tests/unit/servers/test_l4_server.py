"""The L4 balancer over real sockets of the loopback, on uvloop as servers are."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from loopback import bound, closed_port, held, no_descriptors
from patience import LONG, TooLate, patiently, soon, standstill, until, within
from server_records import Told
from serverloop import on_uvloop, run_on_uvloop

from emulab.servers.l4 import tcp, udp
from emulab.servers.l4.pump import READ
from emulab.servers.l4.server import create

HEALTH = {"interval": 0.02, "timeout": LONG, "rise": 1, "fall": 2, "port": None}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets have time to answer, even on a machine that halts us."""
    monkeypatch.setattr(tcp, "CONNECT_TIMEOUT", LONG)


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Upstream:
    """A TCP server whose connections a test takes by hand."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.accepted: asyncio.Queue[Streams] = asyncio.Queue()
        self.greeting = b""
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def open(self) -> Upstream:
        sock = bound()
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._take, sock=sock, limit=2**22)
        return self

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.greeting:
            writer.write(self.greeting)
        self._writers.append(writer)
        self.accepted.put_nowait((reader, writer))

    async def take(self) -> Streams:
        return await self.accepted.get()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def abort(self) -> None:
        self.close()
        for writer in self._writers:
            writer.transport.abort()


class Bench:
    """A balancer with one frontend at 127.0.0.1 and upstreams."""

    def __init__(self) -> None:
        self.records = Told()
        self.server = create(self.records)
        self.upstreams: list[Upstream] = []
        self.frontend: dict[str, Any] = {}
        self.key, self.port = "", 0
        self.clients: list[asyncio.StreamWriter] = []

    async def open(self, upstreams: int, kind: str = "tcp", **frontend: Any) -> None:
        for number in range(upstreams):
            self.upstreams.append(await Upstream(f"node{number}").open())
        sock = bound(kind=kind)
        self.port = sock.getsockname()[1]
        self.key, targets = f"{kind}/127.0.0.1/{self.port}", self.targets(*self.upstreams)
        self.frontend = {"balance": "roundrobin", "targets": targets, **frontend}
        await self.server.configure(self.config, {self.key: sock})

    @property
    def config(self) -> dict[str, Any]:
        return {"listen": [self.key], "frontends": {self.key: self.frontend}}

    def targets(self, *upstreams: Upstream) -> list[dict[str, Any]]:
        return [{"name": u.name, "address": "127.0.0.1", "port": u.port} for u in upstreams]

    async def change(self, **frontend: Any) -> None:
        self.frontend |= frontend
        await self.server.configure(self.config, {})

    async def connect(self) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
        self.clients.append(writer)
        return reader, writer

    async def pair(self, number: int = 0) -> tuple[Streams, Streams]:
        client = await self.connect()
        return client, await self.upstreams[number].take()

    def status(self, name: str = "node0") -> dict[str, Any]:
        frontend = self.server.status()["frontends"][self.key]
        return frontend["targets"][name] if name else frontend

    def of(self, event: str) -> list[dict[str, Any]]:
        return self.records.of(event)

    def connections(self) -> int:
        return int(self.server.status()["connections"])


@contextlib.asynccontextmanager
async def bench(upstreams: int = 1, **arguments: Any) -> AsyncIterator[Bench]:
    made = Bench()
    await made.open(upstreams, **arguments)
    try:
        yield made
    finally:
        await made.server.close()
        for upstream in made.upstreams:
            upstream.abort()
        for writer in made.clients:
            writer.transport.abort()
        await asyncio.sleep(0)
        assert made.connections() == 0


async def refused(made: Bench, data: bytes = b"") -> str:
    """Who asks, and is reset: perhaps before an event loop knows that it is connected."""
    with socket.create_connection(("127.0.0.1", made.port)) as client:
        name = "{}:{}".format(*client.getsockname())
        client.setblocking(False)
        with contextlib.suppress(ConnectionError):
            client.send(data)
        with pytest.raises(ConnectionError):
            await asyncio.get_running_loop().sock_recv(client, 1)
    return name


async def is_reset(reader: asyncio.StreamReader) -> bool:
    try:
        await reader.read()
    except ConnectionResetError:
        return True
    return False


@on_uvloop
async def test_bytes_go_both_ways_and_are_told_of() -> None:
    async with bench() as made:
        (reader, writer), (up_reader, up_writer) = await made.pair()
        writer.write(b"question")
        assert await up_reader.readexactly(8) == b"question"
        up_writer.write(b"answer!")
        assert await reader.readexactly(7) == b"answer!"
        host, port = writer.get_extra_info("sockname")
        source = "{}:{}".format(*up_writer.get_extra_info("peername"))
        accept, attempt, connect = made.records
        number = accept.pop("connection")
        assert attempt.pop("connection") == connect.pop("connection") == number
        assert accept == {
            "event": "proxy-accept",
            "protocol": "tcp",
            "client": f"{host}:{port}",
            "local": f"127.0.0.1:{made.port}",
        }
        assert attempt == {
            "event": "proxy-try",
            "protocol": "tcp",
            "client": f"{host}:{port}",
            "local": f"127.0.0.1:{made.port}",
            "upstream": f"127.0.0.1:{made.upstreams[0].port}",
            "target": "node0",
        }
        assert connect == {
            "event": "proxy-connect",
            "protocol": "tcp",
            "client": f"{host}:{port}",
            "local": f"127.0.0.1:{made.port}",
            "upstream_source": source,
            "upstream": f"127.0.0.1:{made.upstreams[0].port}",
            "target": "node0",
            "reason": "roundrobin, 1 of 1 targets healthy",
        }
        status = made.status()
        assert [status[name] for name in ("open", "total", "bytes_in", "bytes_out")] == [1, 1, 8, 7]
        writer.close()
        up_writer.close()
        await until(lambda: made.status()["open"] == 0 and made.connections() == 0)


PATTERN = bytes(range(251)) * 16384  # 4 MB; 251 is prime, so a slip of any size shows


async def _send(writer: asyncio.StreamWriter, data: bytes, sizes: list[int]) -> None:
    for size in sizes:
        piece, data = data[:size], data[size:]
        writer.write(piece)
        await writer.drain()
    writer.write(data)
    writer.write_eof()


@examples(8)
@given(
    st.lists(st.integers(1, 300_000), max_size=10),
    st.lists(st.integers(1, 300_000), max_size=10),
    st.integers(0, len(PATTERN)),
    st.integers(0, len(PATTERN)),
)
def test_every_byte_arrives_in_order(up: list[int], down: list[int], upsize: int, downsize: int) -> None:
    async def scenario() -> None:
        async with bench() as made:
            (reader, writer), (up_reader, up_writer) = await made.pair()
            sent_up, sent_down = PATTERN[:upsize], PATTERN[-downsize:] if downsize else b""
            results = await asyncio.gather(
                _send(writer, sent_up, up), _send(up_writer, sent_down, down), up_reader.read(), reader.read()
            )
            assert results[2] == sent_up
            assert results[3] == sent_down
            status = made.status()
            assert (status["bytes_in"], status["bytes_out"]) == (upsize, downsize)
            await until(lambda: made.connections() == 0)

    run_on_uvloop(scenario())


@pytest.mark.parametrize("first", ["client", "upstream"])
@on_uvloop
async def test_half_close_leaves_the_other_way_open(first: str) -> None:
    async with bench() as made:
        (reader, writer), (up_reader, up_writer) = await made.pair()
        if first == "upstream":
            reader, writer, up_reader, up_writer = up_reader, up_writer, reader, writer
        writer.write(b"all I have")
        writer.write_eof()
        assert await up_reader.read() == b"all I have"
        up_writer.write(PATTERN)
        assert await reader.readexactly(len(PATTERN)) == PATTERN
        assert made.connections() == 1
        up_writer.write_eof()
        assert await reader.read() == b""
        await until(lambda: made.connections() == 0)


@pytest.mark.parametrize("first", ["client", "upstream"])
@on_uvloop
async def test_a_reset_stays_a_reset(first: str) -> None:
    async with bench() as made:
        (reader, writer), (up_reader, up_writer) = await made.pair()
        writer.write(b"a")
        up_writer.write(b"b")
        assert (await up_reader.readexactly(1), await reader.readexactly(1)) == (b"a", b"b")
        reset(writer if first == "client" else up_writer)
        assert await is_reset(up_reader if first == "client" else reader)
        await until(lambda: made.connections() == 0 and made.status()["open"] == 0)


@pytest.mark.parametrize("first", ["client", "upstream"])
@on_uvloop
async def test_a_reset_after_a_half_close_is_found(first: str) -> None:
    async with bench() as made:
        (reader, writer), (up_reader, up_writer) = await made.pair()
        if first == "upstream":
            reader, writer, up_reader, up_writer = up_reader, up_writer, reader, writer
        writer.write_eof()
        await until(lambda: up_reader.at_eof())
        await asyncio.sleep(0.03)
        assert made.connections() == 1
        reset(writer)
        await until(lambda: made.connections() == 0)
        up_writer.write(b"?")
        with contextlib.suppress(ConnectionError):
            await up_writer.drain()
        await until(lambda: up_writer.transport.is_closing())


@pytest.mark.parametrize("slow", ["client", "upstream"])
@on_uvloop
async def test_a_slow_reader_stops_the_sender(slow: str) -> None:
    async with bench() as made:
        (reader, writer), (up_reader, up_writer) = await made.pair()
        if slow == "client":
            reader, writer, up_reader, up_writer = up_reader, up_writer, reader, writer
        up_writer.transport.pause_reading()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                writer.write(PATTERN)
                sent += len(PATTERN)
                await writer.drain()

        (session,) = made.server._sessions  # type: ignore[attr-defined]

        def held() -> int:
            return max(len(half.pending) for half in (session._client, session._upstream))

        flooding = asyncio.ensure_future(flood())
        await until(lambda: held() > 0)
        await standstill(lambda: sent)  # the sender can't get rid of any more
        flooding.cancel()
        assert 0 < held() <= READ
        up_writer.transport.resume_reading()
        got = 0
        while got < sent:
            got += len(await up_reader.read(2**20))
        assert got == sent


def delay(monkeypatch: pytest.MonkeyPatch, step: str, seconds: float) -> None:
    """Has each session take a step so much later."""
    begin = getattr(tcp.Session, step)

    def later(self: tcp.Session, *arguments: Any) -> None:
        self._around.loop.call_later(seconds, begin, self, *arguments)

    monkeypatch.setattr(tcp.Session, step, later)


@on_uvloop
async def test_early_data_of_both_sides_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    delay(monkeypatch, "_connect", 0.02)
    delay(monkeypatch, "_join", 0.02)  # the greeting comes before anyone reads
    async with bench() as made:
        made.upstreams[0].greeting = b"220 ready\r\n"
        reader, writer = await made.connect()
        writer.write(PATTERN)
        writer.write_eof()
        up_reader, up_writer = await made.upstreams[0].take()
        assert await up_reader.read() == PATTERN
        assert await reader.readexactly(11) == b"220 ready\r\n"
        up_writer.close()
        assert await reader.read() == b""
        await until(lambda: made.connections() == 0)


@pytest.mark.parametrize(("up", "down"), [(b"up", b"down"), (b"", b""), (b"up", b"")])
@on_uvloop
async def test_both_sides_may_end_before_they_meet(
    up: bytes, down: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay(monkeypatch, "_join", 0.03)
    async with bench() as made:
        reader, writer = await made.connect()
        writer.write(up)
        writer.write_eof()
        up_reader, up_writer = await made.upstreams[0].take()
        up_writer.write(down)
        up_writer.write_eof()
        assert (await up_reader.read(), await reader.read()) == (up, down)
        await until(lambda: made.connections() == 0)


@contextlib.contextmanager
def silent_target() -> Iterator[dict[str, Any]]:
    """A target that answers no SYN: its backlog is full, and the kernel drops them."""
    with bound(backlog=0) as full, socket.socket() as filler, socket.socket() as second:
        filler.connect(full.getsockname())
        second.setblocking(False)
        second.connect_ex(full.getsockname())
        yield {"name": "silent", "address": "127.0.0.1", "port": full.getsockname()[1]}


@on_uvloop
async def test_a_client_that_leaves_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "CONNECT_TIMEOUT", 3600)
    with silent_target() as target:
        async with bench() as made:
            await made.change(targets=[target])
            _, writer = await made.connect()
            await until(lambda: bool(made.of("proxy-try")))
            assert made.connections() == 1
            reset(writer)
            await until(lambda: made.connections() == 0)
            assert made.status("silent")["open"] == made.status("")["open"] == 0


@on_uvloop
async def test_round_robin_and_failover() -> None:
    async with bench(upstreams=3) as made:
        for turn in range(6):
            _, (_, up_writer) = await made.pair(turn % 3)
            up_writer.close()
        made.upstreams[1].close()
        for turn in (0, 2, 2, 0):
            await made.pair(turn)
        last = made.of("proxy-connect")[7]
        assert last["target"] == "node2"
        assert last["reason"] == "roundrobin, 3 of 3 targets healthy, after node1 Connection refused"
        (error,) = made.of("upstream-error")
        assert error == {
            "event": "upstream-error",
            **{name: last[name] for name in ("protocol", "connection", "client", "local")},
            "upstream": f"127.0.0.1:{made.upstreams[1].port}",
            "target": "node1",
            "reason": "Connection refused",
        }
        assert made.of("drop") == []


@on_uvloop
@patiently(0.05, 1, 10)
async def test_a_silent_target_is_given_up(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "CONNECT_TIMEOUT", limit)
    async with bench() as made:
        with silent_target() as silent:
            await made.change(targets=[silent, *made.targets(*made.upstreams)])
            await made.connect()
            await until(lambda: bool(made.of("proxy-connect") or made.of("drop")))
        if ("node0", "timed out") in [(one["target"], one["reason"]) for one in made.of("upstream-error")]:
            raise TooLate
        await made.upstreams[0].take()
        assert (
            made.of("proxy-connect")[0]["reason"]
            == "roundrobin, 2 of 2 targets healthy, after silent timed out"
        )


class NoRoom:
    """An epoll set of a user who watches as many descriptors as fs.epoll.max_user_watches allows."""

    def __init__(self, real: select.epoll) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def register(self, fd: int, mask: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@on_uvloop
async def test_a_target_that_cannot_be_waited_for_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "CONNECT_TIMEOUT", 3600)
    async with bench() as made:
        with silent_target() as silent:
            await made.change(targets=[silent])
            pump = made.server._around.pump
            epoll, pump._epoll = pump._epoll, NoRoom(pump._epoll)
            await refused(made)
            pump._epoll = epoll
        assert "No space left on device" in made.of("drop")[0]["reason"]
        assert made.connections() == 0


@on_uvloop
async def test_without_a_target_the_client_is_reset() -> None:
    async with bench(upstreams=0) as made:
        await refused(made)
        assert made.of("drop")[0]["reason"] == "no target is configured"
        await made.change(targets=[{"name": "gone", "address": "127.0.0.1", "port": closed_port()}])
        client = await refused(made)
        assert made.of("drop")[1]["reason"] == "no target answers: gone Connection refused"
        assert made.of("drop")[1]["client"] == client
        assert made.status("")["dropped"] == 2
        assert made.of("proxy-connect") == []


@on_uvloop
async def test_the_acl_refuses_before_any_byte() -> None:
    async with bench(source_ranges=["127.0.0.2/32"]) as made:
        client = await refused(made, b"let me in")
        assert [record["event"] for record in made.records] == ["drop"]
        assert made.records[0].pop("connection") > 0
        assert made.records[0] == {
            "event": "drop",
            "protocol": "tcp",
            "client": client,
            "local": f"127.0.0.1:{made.port}",
            "reason": "source address not allowed",
            "acl": ["127.0.0.2/32"],
        }
        assert made.upstreams[0].accepted.empty()
        friend = await asyncio.open_connection("127.0.0.1", made.port, local_addr=("127.0.0.2", 0))
        friend[1].write(b"hello")
        up_reader, _ = await made.upstreams[0].take()
        assert await up_reader.readexactly(5) == b"hello"
        friend[1].close()


@on_uvloop
async def test_health_follows_the_target() -> None:
    async with bench(upstreams=2, health=HEALTH) as made:
        made.upstreams[0].close()
        await until(lambda: not made.status()["healthy"])
        assert made.status("node1")["healthy"]
        for _ in range(3):
            await made.pair(1)
        last = made.of("proxy-connect")[-2:]
        assert all(record["reason"] == "roundrobin, 1 of 2 targets healthy" for record in last)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", made.upstreams[0].port))
        with sock:
            sock.listen()
            await until(lambda: made.status()["healthy"])
        flips = [(record["target"], record["healthy"]) for record in made.of("health")]
        assert flips[:2] == [("node0", False), ("node0", True)]


@on_uvloop
async def test_health_by_http_is_what_the_target_says() -> None:
    answers = [b"HTTP/1.1 503 Service Unavailable\r\n\r\n"]
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answers[-1])
        writer.close()

    sock = bound()
    checker = await asyncio.start_server(answer, sock=sock)
    health = {**HEALTH, "port": sock.getsockname()[1], "path": "/healthz", "fall": 1}
    async with bench(health=health) as made:
        await until(lambda: not made.status()["healthy"])
        answers.append(b"HTTP/1.1 200 OK\r\n\r\n")
        await until(lambda: made.status()["healthy"])
        answers.append(b"SSH-2.0-OpenSSH\r\n")
        await until(lambda: not made.status()["healthy"])
    assert asked[0].startswith(b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n")
    checker.close()


@on_uvloop
async def test_all_targets_sick_means_reset_and_checks_end_with_the_configuration() -> None:
    async with bench(health={**HEALTH, "port": closed_port()}) as made:
        await until(lambda: not made.status()["healthy"])
        await refused(made)
        await made.change(health=None)
        assert made.status()["healthy"]
        await made.pair()
        await until(lambda: bool(made.of("proxy-connect")))
        await made.change(targets=[])
        count = len(made.records)
        await asyncio.sleep(0.05)
        assert len(made.records) == count


@on_uvloop
async def test_a_removed_target_keeps_its_connections() -> None:
    async with bench(upstreams=2) as made:
        (reader, writer), (up_reader, up_writer) = await made.pair(0)
        await made.change(targets=made.targets(made.upstreams[1]))
        for _ in range(3):
            await made.pair(1)
        writer.write(b"still here")
        assert await up_reader.readexactly(10) == b"still here"
        up_writer.write(b"yes")
        up_writer.close()
        assert await reader.read() == b"yes"


@on_uvloop
async def test_a_removed_listener_accepts_no_more() -> None:
    async with bench() as made:
        (_, writer), (up_reader, _) = await made.pair()
        await made.server.configure({"listen": [], "frontends": {}}, {})
        with pytest.raises(ConnectionRefusedError):
            await made.connect()
        writer.write(b"on")
        assert await up_reader.readexactly(2) == b"on"
        assert made.connections() == 1


@on_uvloop
async def test_a_socket_without_a_frontend_resets() -> None:
    async with bench() as made:
        await made.server.configure({"listen": [made.key]}, {})
        await refused(made)


@on_uvloop
async def test_a_wrong_configuration_changes_nothing() -> None:
    async with bench() as made:
        key = made.key
        wrong: list[dict[str, Any]] = [
            {"listen": [key, "tcp/127.0.0.1/1"], "frontends": {}},
            {"listen": ["icmp/127.0.0.1/1"], "frontends": {}},
            {"listen": [], "frontends": {key: made.frontend}},
            {"listen": [key], "frontends": {key: {**made.frontend, "balance": "magic"}}},
        ]
        for config in wrong:
            with pytest.raises(ValueError, match=r"socket|balance"):
                await made.server.configure(config, {})
        await made.pair()
        extra = bound("127.0.0.2")
        await made.server.configure(made.config, {"tcp/127.0.0.2/1": extra})
        assert extra.fileno() == -1


@on_uvloop
@patiently(0.3, 3, 10, 40)
async def test_close_waits_for_its_grace_and_then_resets(grace: float) -> None:
    async with bench() as made:
        (first_reader, first), (first_up_reader, first_up) = await made.pair()
        (reader, _), (up_reader, _) = await made.pair()
        with within(grace):
            closing = asyncio.create_task(made.server.close(grace))
            await asyncio.sleep(0.01)
            with pytest.raises(ConnectionRefusedError):
                await made.connect()
            first.write(b"last words")
            first.write_eof()
            assert await first_up_reader.read() == b"last words"
            first_up.close()
            assert await first_reader.read() == b""
            assert not closing.done()
        assert await is_reset(reader)
        assert await is_reset(up_reader)
        await closing


@on_uvloop
async def test_close_returns_as_soon_as_all_is_done() -> None:
    async with bench() as made:
        (_, writer), (_, up_writer) = await made.pair()
        writer.close()
        up_writer.close()
        await soon(made.server.close(2 * LONG))


@on_uvloop
@patiently(0.05, 0.5, 5, 40)
async def test_an_idle_connection_ends_if_asked_for(limit: float) -> None:
    loop = asyncio.get_running_loop()
    async with bench(idle_timeout=limit) as made:
        since = loop.time()
        (reader, writer), (up_reader, _) = await made.pair()
        for _ in range(4):
            await asyncio.sleep(limit * 0.4)
            writer.write(b".")
            data = b""
            with contextlib.suppress(ConnectionError):
                data = await up_reader.read(1)
            since, before = loop.time(), since
            if since - before >= limit * 0.6:
                raise TooLate
            assert data == b"."
        assert await reader.read() == b""
        assert await up_reader.read() == b""
        assert loop.time() - since >= limit * 0.8
        await until(lambda: made.connections() == 0 and made.status()["open"] == 0)


# UDP.


class Datagrams(asyncio.DatagramProtocol):
    """A UDP server that answers each datagram with its name and what it was sent."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.seen: list[tuple[bytes, Any]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.seen.append((data, addr))
        self.transport.sendto(self.name + data, addr)


@contextlib.asynccontextmanager
async def datagram_bench(**frontend: Any) -> AsyncIterator[tuple[Bench, list[Datagrams]]]:
    loop = asyncio.get_running_loop()
    servers: list[Datagrams] = []
    targets = []
    for number in range(2):
        sock = bound(kind="udp")
        targets.append({"name": f"node{number}", "address": "127.0.0.1", "port": sock.getsockname()[1]})
        _, server = await loop.create_datagram_endpoint(
            lambda number=number: Datagrams(b"%d" % number), sock=sock
        )  # type: ignore[misc]
        servers.append(server)
    async with bench(upstreams=0, kind="udp", **({"targets": targets} | frontend)) as made:
        try:
            yield made, servers
        finally:
            for server in servers:
                server.transport.close()


def udp_client(port: int, address: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((address, 0))
    sock.connect(("127.0.0.1", port))
    return sock


async def ask(client: socket.socket, data: bytes) -> bytes:
    client.send(data)
    return await soon(asyncio.get_running_loop().sock_recv(client, 65536))


@on_uvloop
async def test_udp_keeps_a_client_at_its_target() -> None:
    async with datagram_bench() as (made, servers):
        with udp_client(made.port) as first, udp_client(made.port) as second:
            for payload in (b"a", b"", b"x" * 50_000, b"z"):
                assert await ask(first, payload) == b"0" + payload
                assert await ask(second, payload) == b"1" + payload
            assert len({address for _, address in servers[0].seen}) == 1
            connect = made.of("proxy-connect")[0]
            assert connect["client"] == "{}:{}".format(*first.getsockname())
            assert connect["upstream_source"] == "{}:{}".format(*servers[0].seen[0][1])
            assert len(made.of("proxy-accept")) == len(made.of("proxy-connect")) == 2
        status = made.status()
        assert (status["open"], status["total"]) == (1, 1)
        assert (status["bytes_in"], status["bytes_out"]) == (50_002, 50_006)


@on_uvloop
@patiently(0.05, 0.5, 5, 40)
async def test_udp_flows_end_by_idleness(limit: float) -> None:
    loop = asyncio.get_running_loop()
    async with datagram_bench(idle_timeout=limit) as (made, _servers):
        with udp_client(made.port) as client:
            since = loop.time()
            for _ in range(4):
                answer = await ask(client, b"x")
                since, before = loop.time(), since
                if since - before >= limit * 0.6:
                    raise TooLate
                assert answer == b"0x"
                await asyncio.sleep(limit * 0.4)
            while made.status()["open"]:
                await asyncio.sleep(limit / 10)
            assert await ask(client, b"x") == b"1x"


@on_uvloop
async def test_udp_flows_leave_a_target_that_is_configured_away() -> None:
    async with datagram_bench() as (made, _servers):
        with udp_client(made.port) as first, udp_client(made.port) as second:
            assert (await ask(first, b"a"), await ask(second, b"a")) == (b"0a", b"1a")
            await made.change(targets=made.frontend["targets"][1:])
            assert (await ask(first, b"b"), await ask(second, b"b")) == (b"1b", b"1b")
            await made.change(targets=[])
            first.send(b"c")
            await until(lambda: bool(made.of("drop")))


@on_uvloop
async def test_udp_clients_with_affinity_come_back_to_their_target() -> None:
    async with datagram_bench(affinity=60) as (made, servers):
        for _ in range(3):
            with udp_client(made.port, "127.0.0.2") as client, udp_client(made.port, "127.0.0.3") as other:
                assert (await ask(client, b"x"), await ask(other, b"x")) == (b"0x", b"1x")
        assert len(servers[0].seen) == 3


@on_uvloop
async def test_udp_flows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "FLOW_LIMIT", 3)
    async with datagram_bench() as (made, _servers), contextlib.AsyncExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(udp_client(made.port))
            assert (await ask(client, b"x"))[1:] == b"x"
        assert made.status()["open"] + made.status("node1")["open"] == 3


@on_uvloop
async def test_udp_refusals_are_tolerated() -> None:
    late = held("udp")
    target = {"name": "node0", "address": "127.0.0.1", "port": late.getsockname()[1]}
    async with datagram_bench(targets=[target]) as (made, _servers):
        with udp_client(made.port) as client:
            for _ in range(5):
                client.send(b"anyone?")
                await asyncio.sleep(0.005)
            await until(lambda: made.status()["bytes_in"] == 5 * len(b"anyone?"))
            host, _, port = made.of("proxy-connect")[0]["upstream_source"].partition(":")
            late.connect((host, int(port)))  # and refuses it no more
            client.send(b"now?")
            await until(lambda: bool(select.select([late], [], [], 0)[0]))
            assert late.recv(100) == b"now?"
            late.send(b"yes")
            assert await asyncio.get_running_loop().sock_recv(client, 100) == b"yes"


@on_uvloop
async def test_udp_without_descriptors_loses_datagrams_and_goes_on() -> None:
    failed = list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    async with datagram_bench() as (made, _servers):
        with udp_client(made.port) as client:
            with no_descriptors():
                client.send(b"x")
                await until(lambda: bool(failed or made.of("drop")))
            assert not failed
            assert "node0 Too many open files" in made.of("drop")[0]["reason"]
            assert (await ask(client, b"y"))[1:] == b"y"


@on_uvloop
async def test_udp_acl_drops_silently() -> None:
    async with datagram_bench(source_ranges=["127.0.0.2/32"]) as (made, servers):
        with udp_client(made.port) as stranger, udp_client(made.port, "127.0.0.2") as friend:
            stranger.send(b"x")
            assert await ask(friend, b"y") == b"0y"
            with pytest.raises(BlockingIOError):
                stranger.recv(10)
        assert [data for data, _ in servers[0].seen + servers[1].seen] == [b"y"]
        (dropped,) = made.of("drop")
        assert dropped["reason"] == "source address not allowed" and dropped["acl"] == ["127.0.0.2/32"]
        accept, connect = made.of("proxy-accept")[0], made.of("proxy-connect")[0]
        assert accept["connection"] == connect["connection"] != dropped["connection"]
        assert accept["local"] == connect["local"] == f"127.0.0.1:{made.port}"
        assert accept["protocol"] == connect["protocol"] == dropped["protocol"] == "udp"
        assert connect["client"] == accept["client"] and connect["client"].startswith("127.0.0.2:")
        assert connect["reason"] == "roundrobin, 2 of 2 targets healthy"
        source = servers[0].seen[0][1]
        assert connect["upstream_source"] == f"127.0.0.1:{source[1]}"
        assert made.status("")["dropped"] == 1


@on_uvloop
async def test_udp_without_a_target_drops() -> None:
    async with datagram_bench(targets=[]) as (made, _servers):
        with udp_client(made.port) as client:
            client.send(b"x")
            await until(lambda: bool(made.of("drop")))


@on_uvloop
async def test_a_patch_changes_one_frontend_and_nobody_is_cut_off() -> None:
    async with bench(2) as made:
        made.server.patch(patch(made, targets=made.targets(made.upstreams[0])))
        kept = await made.pair(0)
        made.server.patch(patch(made, targets=made.targets(made.upstreams[1])))
        await made.pair(1)
        kept[0][1].write(b"still")
        assert await kept[1][0].readexactly(5) == b"still"
        made.server.patch({"frontends": {made.key: None}})
        await refused(made)


@on_uvloop
async def test_a_wrong_patch_changes_nothing() -> None:
    async with bench() as made:
        wrong: list[dict[str, Any]] = [
            {"tcp/127.0.0.1/1": made.frontend},
            {made.key: {**made.frontend, "balance": "magic"}},
            {made.key: {**made.frontend, "unknown": 1}},
            {made.key: None, "tcp/127.0.0.1/1": None},
        ]
        for frontends in wrong:
            with pytest.raises(ValueError, match=r"socket|balance|unknown"):
                made.server.patch({"frontends": frontends})
        await made.pair()


def patch(made: Bench, **frontend: Any) -> dict[str, Any]:
    return {"frontends": {made.key: {**made.frontend, **frontend}}}
