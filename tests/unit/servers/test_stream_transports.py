"""Transports of our own, at real sockets: bytes, ends, and what a peer may do in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any, cast

import pytest
from patience import until
from serverloop import on_uvloop

from emulab.servers.l7.shell.opening import open_upstream
from emulab.servers.l7.shell.upstream import Pool, UpstreamConnection
from emulab.servers.selfsigned import make_context, self_signed
from emulab.servers.streams import epollset
from emulab.servers.streams.connecting import connect
from emulab.servers.streams.epollset import EpollSet
from emulab.servers.streams.handshakes import Handshakes
from emulab.servers.streams.listening import listen
from emulab.servers.streams.plain import HIGH
from emulab.servers.streams.secure import AnyTransport

MUCH = bytes(range(256)) * (4 << 10)


@dataclass
class Heard(asyncio.Protocol):
    """What a protocol has been told, in order; `on_data` is done beside."""

    on_data: Callable[[Heard, bytes], None] = lambda heard, data: None
    keeps_open: bool = False
    data: bytearray = field(default_factory=bytearray)
    said: list[str] = field(default_factory=list)
    error: Exception | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = cast(AnyTransport, transport)
        self.said.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.on_data(self, data)

    def eof_received(self) -> bool:
        self.said.append("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self.said.append("full")

    def resume_writing(self) -> None:
        self.said.append("room")

    def connection_lost(self, exc: Exception | None) -> None:
        self.said.append("lost")
        self.error = exc


@dataclass
class Place:
    """A listener, and who has been accepted by it."""

    streams: EpollSet
    address: tuple[str, int]
    protocols: list[Heard]

    async def client(self, number: int = 1) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Heard]:
        reader, writer = await asyncio.open_connection(*self.address)
        await until(lambda: len(self.protocols) >= number and bool(self.protocols[-1].said))
        return reader, writer, self.protocols[-1]


@contextlib.asynccontextmanager
async def place(
    make: Callable[[], Heard] = Heard, secure: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Place]:
    protocols: list[Heard] = []

    def made() -> Heard:
        protocols.append(make())
        return protocols[-1]

    sock = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    streams = EpollSet()
    address = sock.getsockname()[:2]
    handshakes = Handshakes(secure) if secure is not None else None
    acceptor = listen(streams, sock, 100, made, handshakes)
    try:
        yield Place(streams, address, protocols)
    finally:
        acceptor.close()
        for one in protocols:
            if one.said:
                one.transport.abort()
        streams.close()


def answer_and_close(heard: Heard, _: bytes) -> None:
    heard.transport.write(b"answer")
    heard.transport.close()


@on_uvloop
async def test_the_end_is_right_behind_the_last_byte() -> None:
    """So whoever closes upon `Connection: close` is second, and waits for nothing."""
    async with place(lambda: Heard(answer_and_close)) as there:
        with socket.create_connection(there.address) as client:
            client.sendall(b"question")
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(client, 100) == b"answer"
            assert client.recv(100) == b""  # it came with the answer: nobody had another turn
        await until(lambda: there.protocols[0].said == ["made", "lost"])
        assert there.protocols[0].error is None


@on_uvloop
async def test_each_end_knows_both_names() -> None:
    for host in ("127.0.0.1", "::1", "0.0.0.0"):
        async with place(host=host) as there:
            to = "127.0.0.1" if host == "0.0.0.0" else host
            near = Heard()
            transport = await connect(there.streams, to, there.address[1], near)
            await until(lambda: len(there.protocols) == 1 and there.protocols[0].said == ["made"])
            far = there.protocols[0].transport
            for one, other in ((transport, far), (far, transport)):
                assert one.get_extra_info("peername")[:2] == other.get_extra_info("sockname")[:2]
            assert far.get_extra_info("sockname")[:2] == (to, there.address[1])
            transport.close()
            await until(lambda: there.protocols[0].said == ["made", "eof", "lost"])


@on_uvloop
async def test_who_reads_slowly_is_waited_for() -> None:
    async with place() as there:
        reader, writer, heard = await there.client()
        while heard.said == ["made"]:
            heard.transport.write(MUCH)
        sent = heard.transport.get_write_buffer_size()
        assert heard.said == ["made", "full"] and sent > HIGH
        heard.transport.close()
        heard.transport.write(b"too late")
        taken = await reader.read()
        assert taken == MUCH * (len(taken) // len(MUCH)) and len(taken) >= sent
        writer.close()
        await until(lambda: heard.said[-1] == "lost")
        assert heard.error is None


@on_uvloop
async def test_there_is_room_again() -> None:
    async with place() as there:
        reader, writer, heard = await there.client()
        while heard.said == ["made"]:
            heard.transport.write(MUCH)
        asyncio.get_running_loop().call_later(0, lambda: None)
        task = asyncio.ensure_future(reader.read())
        assert heard.transport.taken == -inf  # type: ignore[union-attr]
        began = monotonic()
        await until(lambda: heard.said == ["made", "full", "room"])
        assert began < heard.transport.taken < monotonic()  # type: ignore[union-attr]
        heard.transport.write_eof()
        assert len(await task) % len(MUCH) == 0
        writer.close()


@on_uvloop
async def test_each_direction_ends_by_itself() -> None:
    async with place(lambda: Heard(keeps_open=True)) as there:
        reader, writer, heard = await there.client()
        writer.write(b"all of it")
        writer.write_eof()
        await until(lambda: heard.said == ["made", "eof"])
        heard.transport.write(MUCH)
        heard.transport.write_eof()
        assert (bytes(heard.data), await reader.read()) == (b"all of it", MUCH)
        assert heard.said[:2] == ["made", "eof"] and "lost" not in heard.said
        writer.close()


@on_uvloop
async def test_who_does_not_read_is_told_later() -> None:
    async with place() as there:
        _, writer, heard = await there.client()
        heard.transport.pause_reading()
        writer.write(b"held back")
        writer.close()
        await asyncio.sleep(0.05)
        assert not heard.data and heard.said == ["made"]
        heard.transport.resume_reading()
        await until(lambda: heard.said == ["made", "eof", "lost"])
        assert heard.data == b"held back"


@on_uvloop
async def test_who_is_gone_is_told_of_once_while_nobody_reads() -> None:
    """Else epoll would tell of it in each turn, for ever."""
    async with place() as there:
        _, writer, heard = await there.client()
        heard.transport.pause_reading()
        turns = 0

        def turned() -> None:
            nonlocal turns
            turns += 1

        there.streams.at_end = turned
        writer.transport.abort()
        sock = writer.get_extra_info("socket")
        await until(lambda: sock.fileno() < 0)
        await asyncio.sleep(0.05)
        assert turns <= 3
        heard.transport.write(b"to nobody")
        heard.transport.resume_reading()
        await until(lambda: heard.said[-1] == "lost")


@on_uvloop
async def test_a_reset_is_an_error() -> None:
    async with place() as there:
        with socket.create_connection(there.address) as client:
            await until(lambda: len(there.protocols) == 1 and bool(there.protocols[0].said))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        heard = there.protocols[0]
        await until(lambda: heard.said == ["made", "lost"])
        assert isinstance(heard.error, ConnectionResetError)


@on_uvloop
async def test_a_protocol_that_fails_ends_its_own_connection() -> None:
    def fail(heard: Heard, data: bytes) -> None:
        if data == b"fail":
            raise ValueError("of this one alone")

    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(repr(context["exception"]))
    )
    async with place(lambda: Heard(fail)) as there:
        reader, writer, heard = await there.client()
        _, other_writer, other = await there.client(2)
        writer.write(b"fail")
        assert await reader.read() == b""
        other_writer.write(b"good")
        await until(lambda: other.data == b"good")
        assert (heard.said, other.said) == (["made", "lost"], ["made"])
        assert told == ["ValueError('of this one alone')"]
        writer.close()
        other_writer.close()


# --- TLS --------------------------------------------------------------------------------------------------------


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


SECURE = make_context(*self_signed("test", "test", ["test"]))


@on_uvloop
async def test_tls_carries_the_same() -> None:
    async with place(lambda: Heard(lambda heard, data: heard.transport.write(data)), SECURE) as there:
        reader, writer = await asyncio.open_connection(*there.address, ssl=trusting())
        for piece in (b"x", MUCH):
            writer.write(piece)
            assert await reader.readexactly(len(piece)) == piece
        heard = there.protocols[0]
        assert heard.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert not heard.transport.can_write_eof()
        writer.close()
        await until(lambda: heard.said[-2:] == ["eof", "lost"])
        assert heard.error is None


@on_uvloop
async def test_tls_ends_with_a_word_and_waits_for_none() -> None:
    async with place(lambda: Heard(answer_and_close), SECURE) as there:
        reader, writer = await asyncio.open_connection(*there.address, ssl=trusting())
        writer.write(b"question")
        assert await reader.read() == b"answer"  # without close_notify this would be an SSLEOFError
        await until(lambda: there.protocols[0].said == ["made", "lost"])
        writer.close()


@on_uvloop
async def test_who_does_not_read_over_tls_is_told_later() -> None:
    """Also of what is decrypted already."""

    def once(heard: Heard, _: bytes) -> None:
        heard.transport.pause_reading()

    async with place(lambda: Heard(once), SECURE) as there:
        _, writer = await asyncio.open_connection(*there.address, ssl=trusting())
        writer.write(b"a")
        await until(lambda: len(there.protocols) == 1 and there.protocols[0].data == b"a")
        heard = there.protocols[0]
        for piece in (b"b", b"c"):
            writer.write(piece)
        await asyncio.sleep(0.05)
        assert heard.data == b"a"
        while heard.data != b"abc":
            heard.transport.resume_reading()
            await asyncio.sleep(0.01)
        writer.close()


@on_uvloop
async def test_who_speaks_no_tls_is_sent_away() -> None:
    async with place(Heard, SECURE) as there:
        reader, writer = await asyncio.open_connection(*there.address)
        writer.write(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))
        assert (await reader.read())[:1] in (b"", b"\x15")  # an alert (RFC 8446, section 5.1)
        await until(lambda: len(there.protocols) == 1)
        assert there.protocols[0].said == []
        writer.close()


@dataclass
class Asked:
    """Who has a connection to an upstream: whether more was there whenever something came."""

    upstream: UpstreamConnection | None = None
    silent: list[bool] = field(default_factory=list)

    def connected(self, upstream: UpstreamConnection) -> None:
        self.upstream, upstream.owner = upstream, self

    def connect_failed(self, why: str, timed_out: bool) -> None:
        raise AssertionError(why)

    def upstream_received(self, data: bytes) -> None:
        assert self.upstream is not None
        self.silent.append(self.upstream.silent)

    def upstream_ended(self, reset: bool) -> None: ...
    def upstream_filled(self, full: bool) -> None: ...


@pytest.mark.parametrize(
    ("said", "ends", "silent"),
    [
        pytest.param(b"x", False, True, id="an answer"),
        pytest.param(b"x", True, False, id="an answer and the end"),
        pytest.param(b"x" * 5000, False, False, id="more than is read at once"),
    ],
)
@on_uvloop
async def test_whether_an_upstream_has_said_more(said: bytes, ends: bool, silent: bool) -> None:
    """Of what had come when the batch began; the connection would else be used for another request."""
    streams, asked = EpollSet(), Asked()
    pool = Pool(lambda: streams, open_upstream)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pool.open(f"127.0.0.1:{listening.getsockname()[1]}", 5, asked)
        server = (await asyncio.to_thread(listening.accept))[0]
        await until(lambda: asked.upstream is not None)
        server.sendall(said)
        if ends:
            server.shutdown(socket.SHUT_WR)
        await until(lambda: bool(asked.silent))
        assert asked.silent[0] is silent
        server.close()
    pool.close()
    streams.close()


@on_uvloop
async def test_who_had_no_place_in_a_batch_is_not_taken_for_silent() -> None:
    """The kernel tells of so many at a time; of the others nobody knows yet whether they have said something."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * epollset._BATCH)), hard))
    streams, said, silent = EpollSet(), list[int](), list[bool]()
    ready = [os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(epollset._BATCH + 1)]

    def told(fd: int) -> None:
        os.read(fd, 8)
        said.append(fd)
        silent.append(any(streams.was_silent(other) for other in ready if other not in said))

    for fd in ready:
        streams.watch(fd, epollset.READABLE, lambda _, fd=fd: told(fd))
    await until(lambda: len(said) == len(ready))
    assert not any(silent), "one that had something to say"
    streams.close()
    for fd in ready:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
