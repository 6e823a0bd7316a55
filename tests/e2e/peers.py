"""Two proxies before one hostile world: the ingress and nginx get the same bytes from clients, the same from backends.

All clients and backends live in the test's process, on sockets of the lab: so hundreds of exchanges run at a time.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fuzz.corpus import Script
from fuzz.oracle import Got, RequestOracle, Seen, read_answers

from emulab import Lab

QUIET = 8.0
"""Seconds without a byte after which a proxy is taken to wait for more, as it does for the rest of a request."""
AT_ONCE = 60

NGINX = """
user root root;
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    # As ingress-nginx writes it by default.
    client_header_buffer_size 1k;
    large_client_header_buffers 4 8k;
    client_max_body_size 1m;
    keepalive_requests 100000;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream backend {{ server {backend}; keepalive 320; keepalive_requests 100000; }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_buffer_size 4k;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Real-IP $remote_addr;
        }}
    }}
}}
"""


@dataclass
class Outcome:
    """What came of one sequence at one proxy."""

    answers: list[Got] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)
    kept: bool = False  # the client's connection was good for another request
    ended: str = "closed"
    trash: bytes = b""  # what the client got beside answers
    dropped: bool = False  # the backend's connection was ended by the proxy, and not used again

    @property
    def statuses(self) -> list[int]:
        return [got.status for got in self.answers]


@dataclass
class Side:
    """One of the two proxies: where it listens, and a backend of its own, whose answers are scripted."""

    name: str
    address: tuple[str, int]
    scripts: dict[int, Script] = field(default_factory=dict)
    seen: dict[int, list[Seen]] = field(default_factory=dict)
    served: dict[int, RequestOracle] = field(default_factory=dict)  # over which connection a script was sent
    malformed: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)  # requests over connections that had sent too much

    def backend(self) -> RequestOracle:
        return RequestOracle(self._answer, self.malformed.append)

    def _answer(self, seen: Seen, connection: RequestOracle) -> None:
        found = re.search(rb"z(\d{4})z", seen.target + b" " + seen.host)
        number = int(found[1]) if found else -1
        self.seen.setdefault(number, []).append(seen)
        if connection.tainted:
            self.reused.append(f"{number}: {seen}")
        script = self.scripts.get(number)
        if script is None or seen.target.endswith(b"last"):
            connection.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        self.served[number] = connection
        connection.tainted = script.excessive
        connection.transport.write(script.data)
        if script.close:
            connection.transport.close()


async def send(lab: Lab, side: Side, data: bytes) -> tuple[bytes, str]:
    """What the proxy answers until it closes, and how it ended."""
    sock = await lab.socket("client")
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, side.address)
    reader, writer = await asyncio.open_connection(sock=sock)
    writer.write(data)
    received, ended = b"", "closed"
    try:
        while True:
            async with asyncio.timeout(QUIET):
                piece = await reader.read(1 << 16)
            if not piece:
                break
            received += piece
    except TimeoutError:
        ended = "waits"
    except ConnectionError:
        pass
    writer.transport.abort()
    return received, ended


def last(number: int) -> bytes:
    """The request after a sequence, which ends the connection."""
    return b"GET /z%04dzlast HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n" % number


async def all_of(count: int, one: Callable[[int], Awaitable[Outcome]]) -> list[Outcome]:
    """`one` of each number, a few dozen at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def placed(number: int) -> Outcome:
        async with places:
            return await one(number)

    return list(await asyncio.gather(*map(placed, range(count))))


async def ask_all(lab: Lab, side: Side, sequences: list[bytes]) -> list[Outcome]:
    """Each sequence on a connection of its own."""

    async def one(number: int) -> Outcome:
        received, ended = await send(lab, side, sequences[number] + last(number))
        # Bodies of the backend's answers are empty, so the answers are what begins like one.
        statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]
        return Outcome([Got(status, b"", True) for status in statuses], ended=ended)

    outcomes = await all_of(len(sequences), one)
    for number, outcome in enumerate(outcomes):
        seen = side.seen.get(number, [])
        outcome.kept = any(request.target.endswith(b"last") for request in seen)
        outcome.requests = [request for request in seen if not request.target.endswith(b"last")]
    return outcomes


async def answer_all(lab: Lab, side: Side, scripts: list[Script]) -> list[Outcome]:
    """One request for each script, and one after it on the same connection."""
    side.scripts = dict(enumerate(scripts))

    async def one(number: int) -> Outcome:
        head = b"%b /z%04dz HTTP/1.1\r\nHost: h\r\n\r\n" % (scripts[number].method, number)
        received, ended = await send(lab, side, head + last(number))
        answers, trash = read_answers(received, [scripts[number].method, b"GET"], ended == "closed")
        return Outcome(answers, ended=ended, trash=trash)

    outcomes = await all_of(len(scripts), one)
    for number, outcome in enumerate(outcomes):
        seen = side.seen.get(number, [])
        outcome.kept = any(request.target.endswith(b"last") for request in seen)
        if scripts[number].excessive and number in side.served:
            async with asyncio.timeout(60):
                await side.served[number].lost.wait()
        outcome.dropped = not scripts[number].close and side.served[number].lost.is_set()
    return outcomes


async def listening(
    lab: Lab, place: str, port: int, side: Side, namespace: str = "default"
) -> asyncio.Server:
    """The side's backend, in a place of the lab."""
    sock = await lab.socket(place, socket.SOCK_STREAM, namespace=namespace)
    sock.bind(("", port))
    return await asyncio.get_running_loop().create_server(side.backend, sock=sock, backlog=1024)
