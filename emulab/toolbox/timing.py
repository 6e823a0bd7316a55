"""How long the parts of a request take: the name, the connection, TLS, the first byte, the rest. Each over a connection
of its own, one after the other."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple
from urllib.parse import SplitResult

from emulab.lab.client.client import LabClient
from emulab.lab.client.requesting import connect_to_one, read_url, request_fields, secured
from emulab.lab.exchange import exchange
from emulab.lab.folders import rundir
from emulab.python import Lab
from emulab.servers.stub import ResolverConfig, resolve_all
from emulab.servers.stubquestions import socket_family
from emulab.servers.wire.http1.client import ResponseReader, as_target, request_bytes

PARTS = ("name", "connect", "tls", "first byte", "rest", "total")
"""In their order; `total` is all of them together."""


class Timed(NamedTuple):
    """One request: its status, and the seconds of each of its parts."""

    status: int
    parts: Mapping[str, float]


async def timed(
    lab: Lab, url: str, source: str, namespace: str, number: int, timeout: float, verify: bool
) -> list[Timed]:
    """Sends so many requests. Raises UserError for a wrong URL or name, OSError where a connection fails, TimeoutError,
    and PeerError when what answers is no HTTP."""
    parts, port = read_url(url)
    with await asyncio.to_thread(LabClient, rundir.folder(lab.name)) as client:
        files = await asyncio.to_thread(client.request, "resolver-files", target=source, namespace=namespace)
    sender = _Sender(lab, source, namespace, ResolverConfig.parse(*files))
    found = []
    for _ in range(number):
        async with asyncio.timeout(timeout):
            found.append(await sender.send(parts, port, verify))
    return found


class _Sender:
    """Who sends from a place. The clock stands while the lab is asked for a socket: a program there would have one.

    While addresses of both families race it can't stand, as the one's socket is asked for while the other connects. So
    those sockets are there before.
    """

    def __init__(self, lab: Lab, source: str, namespace: str, resolver: ResolverConfig) -> None:
        self._lab, self._source, self._namespace = lab, source, namespace
        self._resolver = resolver
        self._stood = 0.0

    def _now(self) -> float:
        return time.perf_counter() - self._stood

    async def _socket(self, family: int, kind: int) -> socket.socket:
        begun = time.perf_counter()
        try:
            return await self._lab.socket(self._source, socket.SocketKind(kind), self._namespace, family)
        finally:
            self._stood += time.perf_counter() - begun

    async def _connection(self, addresses: Sequence[str], port: int) -> socket.socket:
        ready: dict[int, list[socket.socket]] = {}
        try:
            for family in map(socket_family, addresses):
                ready.setdefault(family, []).append(await self._socket(family, socket.SOCK_STREAM))

            async def take(family: int, kind: int) -> socket.socket:
                return ready[family].pop()

            return await connect_to_one(addresses, port, take)
        finally:
            for spare in chain.from_iterable(ready.values()):
                spare.close()

    async def send(self, parts: SplitResult, port: int, verify: bool) -> Timed:
        host, tls = parts.hostname or "", parts.scheme == "https"
        marks = [self._now()]
        addresses = await resolve_all(host, self._resolver, self._socket)
        marks.append(self._now())
        sock = await self._connection(addresses, port)
        marks.append(self._now())
        response = ResponseReader()
        target = as_target((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        asked = request_bytes("GET", target, request_fields(parts, "GET", {}, None), b"")
        steps: dict[str, float] = {}

        def mark(step: str) -> None:
            steps.setdefault(step, self._now())

        await exchange(sock, asked, response, secured(verify) if tls else None, host, mark=mark)
        marks += [steps["connected"], steps["answered"], self._now()]
        spent = dict(zip(PARTS[:-1], (after - before for before, after in pairwise(marks)), strict=True))
        if not tls:
            spent.pop("tls")
        return Timed(response.status, {**spent, "total": marks[-1] - marks[0]})
