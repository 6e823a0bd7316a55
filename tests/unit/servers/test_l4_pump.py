"""What passes through the balancer when a side fails, is slow, or there is no room for more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time

import pytest
from loopback import no_descriptors
from patience import soon, until
from serverloop import on_uvloop
from test_l4_server import PATTERN, bench, is_reset, reset

from emulab.servers.l4 import tcp
from emulab.servers.l4.pump import Half, Pump
from emulab.servers.l4.tcplog import EndedConnection
from emulab.servers.wire.proxyheader import proxy_header


@on_uvloop
async def test_what_was_sent_before_a_reset_arrives() -> None:
    async with bench() as made:
        (reader, _), (_, up_writer) = await made.pair()
        up_writer.write(b"last words")
        reset(up_writer)
        assert await reader.readexactly(10) == b"last words"
        assert await is_reset(reader)
        await until(lambda: made.connections() == 0)


@on_uvloop
async def test_an_answer_and_its_end_come_whole() -> None:
    async with bench() as made:
        for size in (0, 1, 100, 1 << 20):
            (reader, writer), (_, up_writer) = await made.pair()
            up_writer.write(PATTERN[:size])
            up_writer.write_eof()
            assert await reader.read() == PATTERN[:size]
            writer.close()
            up_writer.close()
        await until(lambda: made.connections() == 0)
        assert made.status()["bytes_out"] == 101 + (1 << 20)


@on_uvloop
async def test_who_speaks_first_needs_not_wait_for_the_client() -> None:
    """The end of a target's handshake waits for what a client says; the kernel would wait for 0.2 s."""
    waits = []
    async with bench() as made:
        made.upstreams[0].greeting = b"220 ready"
        for _ in range(5):
            begun = time.monotonic()
            reader, _ = await made.connect()
            assert await reader.readexactly(9) == b"220 ready"
            waits.append(time.monotonic() - begun)
    assert min(waits) < 0.1


@on_uvloop
async def test_what_a_target_says_while_it_takes_more_is_not_held_back() -> None:
    """Both are one event. Nothing but FIN is worth waiting for: the kernel would wait for 0.2 s."""
    loop, waits = asyncio.get_running_loop(), []
    async with bench() as made:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            told = {"name": "slow", "address": "127.0.0.1", "port": listening.getsockname()[1]}
            await made.change(targets=[told])
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", made.port)) as client:
                    client.setblocking(False)
                    target, _ = await soon(loop.sock_accept(listening))
                    with target:
                        (session,) = made.server._sessions  # type: ignore[attr-defined]
                        while not session._upstream.pending:
                            with contextlib.suppress(BlockingIOError):
                                client.send(bytes(1 << 16))
                            await asyncio.sleep(0)
                        with contextlib.suppress(BlockingIOError):
                            while target.recv(1 << 20):
                                pass
                        target.send(b"answer")
                        begun = time.monotonic()
                        assert await soon(loop.sock_recv(client, 10)) == b"answer"
                        waits.append(time.monotonic() - begun)
                await until(lambda: made.connections() == 0)
    assert min(waits) < 0.1


@on_uvloop
async def test_only_what_follows_the_first_needs_to_be_sent_at_once() -> None:
    async with bench() as made:
        (_, writer), (up_reader, _) = await made.pair()
        (session,) = made.server._sessions  # type: ignore[attr-defined]
        for sent, at_once in ((b"one", 0), (b"two", 1), (b"six", 1)):
            writer.write(sent)
            assert await up_reader.readexactly(3) == sent
            assert session._upstream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == at_once


@on_uvloop
@pytest.mark.parametrize("version", [1, 2])
async def test_the_client_s_first_words_don_t_wait_for_the_header_to_arrive(version: int) -> None:
    async with bench(proxy_protocol=version) as made:
        (_, writer), (up_reader, _) = await made.pair()
        (session,) = made.server._sessions  # type: ignore[attr-defined]
        assert await up_reader.read(1)
        writer.write(b"hello")
        await up_reader.readuntil(b"hello")
        assert session._upstream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@on_uvloop
async def test_who_has_ended_both_ways_waits_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end would be reported in each turn, while what it sent can't be passed on."""
    events: list[int] = []
    attend = Pump._attend

    def counted(self: Pump, fd: int, half: Half | None, event: int) -> None:
        events.append(event)
        attend(self, fd, half, event)

    monkeypatch.setattr(Pump, "_attend", counted)
    async with bench() as made:
        with socket.create_connection(("127.0.0.1", made.port)) as client:
            client.setblocking(False)
            up_reader, up_writer = await made.upstreams[0].take()
            client.shutdown(socket.SHUT_WR)
            assert await up_reader.read() == b""
            up_writer.write(PATTERN * 4)
            up_writer.close()
            (session,) = made.server._sessions  # type: ignore[attr-defined]
            await until(lambda: bool(session._client.pending))
            await asyncio.sleep(0.05)
            before = len(events)
            await asyncio.sleep(0.1)
            assert len(events) - before < 20
            got = b""
            while data := await asyncio.get_running_loop().sock_recv(client, 1 << 20):
                got += data
            assert got == PATTERN * 4
        await until(lambda: made.connections() == 0)


@on_uvloop
async def test_clients_wait_while_there_are_no_descriptors(capfd: pytest.CaptureFixture[str]) -> None:
    async with bench() as made:
        with socket.socket() as client:
            with no_descriptors():
                client.connect(("127.0.0.1", made.port))
                await asyncio.sleep(0.05)
            client.send(b"hello")
            up_reader, _ = await made.upstreams[0].take()
            assert await up_reader.readexactly(5) == b"hello"
    assert capfd.readouterr().err == f"{made.key}: accept: Too many open files\n"


@on_uvloop
async def test_without_a_descriptor_for_a_target_the_client_is_reset() -> None:
    async with bench() as made:
        with socket.socket() as client:
            client.setblocking(False)
            with no_descriptors(but=1):
                client.connect_ex(("127.0.0.1", made.port))
                await until(lambda: bool(made.of("drop")))
            with pytest.raises(ConnectionResetError):
                await asyncio.get_running_loop().sock_recv(client, 1)
        assert made.of("drop")[0]["reason"] == "no target answers: node0 Too many open files"
        await made.pair()


@on_uvloop
async def test_nothing_of_a_connection_is_left() -> None:
    async with bench() as made:
        await made.pair()
        before = len(os.listdir("/proc/self/fd"))
        for turn in range(60):
            (reader, writer), (up_reader, up_writer) = await made.pair()
            first, second = (writer, up_writer) if turn % 2 else (up_writer, writer)
            if turn % 3:
                first.close()
                second.close()
            else:
                reset(first)
                await is_reset(reader if turn % 2 == 0 else up_reader)
                second.transport.abort()
        await until(lambda: made.connections() == 1)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)


@pytest.mark.parametrize(("end", "how"), [("client", "CD"), ("upstream", "SD"), ("orderly", "--")])
@on_uvloop
async def test_the_log_says_who_broke_a_connection(
    end: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[EndedConnection] = []
    monkeypatch.setattr(tcp, "ended_line", lambda one: ended.append(one) or "")
    async with bench() as made:
        (_, writer), (_, up_writer) = await made.pair()
        if end == "orderly":
            writer.close()
            up_writer.close()
        else:
            reset(writer if end == "client" else up_writer)
        await until(lambda: bool(ended))
    assert ended[0].how == how
    assert ended[0].connecting >= 0 and ended[0].target is not None


@on_uvloop
async def test_a_header_comes_before_what_the_client_sends() -> None:
    async with bench(proxy_protocol=1) as made:
        (_, writer), (up_reader, _) = await made.pair()
        writer.write(b"hello")
        client, local = writer.get_extra_info("sockname"), made.port
        header = f"PROXY TCP4 127.0.0.1 127.0.0.1 {client[1]} {local}\r\n".encode()
        assert await up_reader.readexactly(len(header) + 5) == header + b"hello"


@pytest.mark.parametrize("version", [0, 1, 2])
@on_uvloop
async def test_a_client_of_ipv6_is_led_to_targets_of_either_family(version: int) -> None:
    async with bench() as made:
        six, upstream = (socket.create_server(("::1", 0), family=socket.AF_INET6) for _ in range(2))
        waiting: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        server = await asyncio.start_server(lambda *pair: waiting.put_nowait(pair), sock=upstream)
        key = f"tcp/::1/{six.getsockname()[1]}"
        targets = [
            {"name": "six", "address": "::1", "port": upstream.getsockname()[1]},
            {"name": "four", "address": "127.0.0.1", "port": made.upstreams[0].port},
        ]
        frontend = {
            "balance": "roundrobin",
            "targets": targets,
            "proxy_protocol": version,
            "source_ranges": ["::1/128"],
        }
        config = {"listen": [made.key, key], "frontends": {made.key: made.frontend, key: frontend}}
        await made.server.configure(config, {key: six})
        for take in (waiting.get, made.upstreams[0].take):
            reader, writer = await asyncio.open_connection("::1", int(key.rpartition("/")[2]))
            writer.write(b"hello")
            up_reader, up_writer = await take()
            ends = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
            header = proxy_header(version, *ends) if version else b""
            assert await up_reader.readexactly(len(header) + 5) == header + b"hello"
            up_writer.write(b"yes")
            assert await reader.readexactly(3) == b"yes"
            connect = made.of("proxy-connect")[-1]
            assert connect["client"] == f"[::1]:{ends[0][1]}" and connect["local"] == f"[::1]:{ends[1][1]}"
            writer.close()
            up_writer.close()
        assert [record["target"] for record in made.of("proxy-connect")] == ["six", "four"]
        server.close()
        await until(lambda: made.connections() == 0)
