"""`emulab timing`, by sockets of this machine that take their time to come."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import cast
from urllib.parse import urlsplit

import pytest

from emulab.python import Lab
from emulab.servers.eyeballs import HEAD_START
from emulab.servers.stub import ResolverConfig
from emulab.toolbox.timing import _Sender

ASKED = 0.15


class SlowLab:
    """Who gives sockets, each after a while."""

    def __init__(self) -> None:
        self.asked = 0.0
        self.given: list[socket.socket] = []

    async def socket(self, source: str, kind: int, namespace: str, family: int) -> socket.socket:
        begun = time.perf_counter()
        await asyncio.sleep(ASKED)
        made = socket.socket(family, kind)
        made.setblocking(False)
        self.given.append(made)
        self.asked += time.perf_counter() - begun
        return made


@pytest.mark.asyncio
async def test_the_clock_stands_for_sockets_alone_while_families_race() -> None:
    """Nobody takes connections at the first address any more, so the other one connects after the head start."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket(socket.AF_INET6) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("::1", port))

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", port)
        lab = SlowLab()
        families = (socket.AF_INET6, socket.AF_INET)
        resolver = ResolverConfig((), (), 1, {"both.test": ("::1", "127.0.0.1")}, families)
        sender = _Sender(cast(Lab, lab), "client", "default", resolver)
        begun = time.perf_counter()
        timed = await sender.send(urlsplit(f"http://both.test:{port}/"), port, verify=True)
        elapsed = time.perf_counter() - begun
        server.close()
        for one in waiting:
            one.close()
    assert timed.status == 200 and all(part >= 0 for part in timed.parts.values())
    assert timed.parts["connect"] >= HEAD_START * 0.95
    assert timed.parts["total"] == pytest.approx(elapsed - lab.asked, abs=ASKED)
    async with asyncio.timeout(10):  # those that weren't used are closed, too
        while any(one.fileno() != -1 for one in lab.given):
            await asyncio.sleep(0.01)
