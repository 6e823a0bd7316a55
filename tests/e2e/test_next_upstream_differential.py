"""After which failures another upstream is asked: the proxy beside Debian's nginx, with the same directives."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest
import pytest_asyncio

from emulab.servers.base import socket_key
from emulab.servers.configuration import to_json
from emulab.servers.l7.config import L7Config, Match, Policy, RequestRoute, Upstream, WeightedUpstream
from emulab.servers.l7.shell.server import create

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONDITIONS = (
    "error timeout",
    "off",
    "timeout",
    "error invalid_header",
    "error http_500 http_502 http_503",
    "http_504 http_403 http_404 http_429",
    "error timeout http_503 non_idempotent",
)
BEHAVIOURS = (
    "ok",
    "close",
    "cut",
    "malformed",
    "silent",
    *(str(status) for status in (403, 404, 429, 500, 502, 503, 504)),
)
METHODS = ("GET", "POST", "PUT", "DELETE")
READ_TIMEOUT = 0.3


class Backend:
    """A server that behaves as the last part of the path says, before the dash if it is the first of two."""

    def __init__(self, index: int) -> None:
        self._index = index
        self.seen: Counter[str] = Counter()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.decode().split(" ", 2)
            self.seen[f"{method} {target}"] += 1
            how = target.rpartition("/")[2].split("-")[self._index]
            if how == "silent":
                await reader.read()
            answers = {
                "close": b"",
                "silent": b"",
                "cut": b"HTTP/1.1 200 OK\r\nContent-Le",
                "malformed": b"HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n",
                "ok": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            }
            status = b"HTTP/1.1 %b Whatever\r\nContent-Length: 0\r\n\r\n" % how.encode()
            writer.write(answers.get(how, status))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        self._server.close()


class Sending:
    """One proxy between a client and two backends of its own."""

    def __init__(self, port: int, backends: tuple[Backend, Backend]) -> None:
        self.port, self.backends = port, backends

    async def ask(self, method: str, target: str) -> tuple[int, int]:
        """The status, and how often a backend was asked."""
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            body = "Content-Length: 0\r\n" if method in ("POST", "PUT") else ""
            writer.write(f"{method} {target} HTTP/1.1\r\nHost: h\r\n{body}Connection: close\r\n\r\n".encode())
            head = await reader.read()
            writer.close()
        asked = sum(one.seen.pop(f"{method} {target}", 0) for one in self.backends)
        return int(head.split(b" ")[1]), asked


def bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def where(conditions: int, tries: int) -> str:
    return f"/c{conditions}t{tries}/"


PLACES = [(number, tries) for number in range(len(CONDITIONS)) for tries in (1, 2)]


def nginx_conf(folder: Path, port: int, servers: tuple[str, str]) -> str:
    locations = "\n".join(
        f"""location {where(number, tries)} {{
            proxy_pass http://both; proxy_next_upstream {CONDITIONS[number]}; proxy_next_upstream_tries {tries};
        }}"""
        for number, tries in PLACES
    )
    return f"""daemon off; pid {folder}/pid; error_log {folder}/error.log;
    events {{}}
    http {{
        access_log off; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 300ms;
        client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
        uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
        upstream both {{ server {servers[0]} max_fails=0; server {servers[1]} max_fails=0; }}
        server {{ listen 127.0.0.1:{port}; {locations} }}
    }}"""


def config(key: str, servers: tuple[str, str]) -> L7Config:
    routes = tuple(
        RequestRoute(
            Match(path=where(number, tries), path_type="ImplementationSpecific"),
            (WeightedUpstream("both"),),
            policy=Policy(
                tries=tries, next_upstream=tuple(CONDITIONS[number].split()), read_timeout=READ_TIMEOUT
            ),
        )
        for number, tries in PLACES
    )
    return L7Config((key,), routes=routes, upstreams={"both": Upstream(servers)})


class Nobody:
    wanted = False

    def __call__(self, record: object, /) -> None:
        """Nobody listens."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Sending, Sending]]:
    folder = tmp_path_factory.mktemp("nginx")
    pairs = [(Backend(0), Backend(1)) for _ in range(2)]
    addresses = [(await one.start(), await other.start()) for one, other in pairs]
    free = bound()
    port = int(free.getsockname()[1])
    free.close()
    (folder / "nginx.conf").write_text(nginx_conf(folder, port, addresses[0]))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    nginx = await asyncio.create_subprocess_exec(program, "-p", str(folder), "-c", str(folder / "nginx.conf"))
    sock = bound()
    sock.listen(100)
    sock.setblocking(False)
    key = socket_key("tcp", *sock.getsockname())
    server = create(Nobody())
    await server.configure(to_json(config(key, addresses[1])), {key: sock})
    theirs, ours = Sending(port, pairs[0]), Sending(int(sock.getsockname()[1]), pairs[1])
    async with asyncio.timeout(30):
        while True:
            try:
                await theirs.ask("GET", "/ready")
                break
            except OSError:
                await asyncio.sleep(0.05)
    yield ours, theirs
    nginx.terminate()
    await nginx.wait()
    await server.close()
    for backend in (one for pair in pairs for one in pair):
        backend.close()


@pytest.mark.parametrize("number", range(len(CONDITIONS)), ids=CONDITIONS)
async def test_as_nginx_does(sides: tuple[Sending, Sending], number: int) -> None:
    """Every failure of one backend, with another that answers or fails in the same way, by several methods.

    A case that differs is asked once more: where the whole machine pauses for longer than the read time-out, as a
    loaded one does, a backend that would have failed at once looks silent to whichever proxy waited.
    """
    ours, theirs = sides
    cases = [
        (method, f"{where(number, tries)}{first}-{second}")
        for tries, first, method in product((1, 2), BEHAVIOURS, METHODS)
        for second in ("ok", first)
        if first != "silent" or (tries == 2 and method in ("GET", "POST"))  # each of them takes its time
    ]
    faults = []
    for method, target in cases:
        for _ in range(2):
            mine, nginxs = await asyncio.gather(ours.ask(method, target), theirs.ask(method, target))
            if mine == nginxs:
                break
        else:
            faults.append(f"{method} {target}: {mine}, nginx {nginxs}")
    assert not faults, f"{len(faults)} of {len(cases)}:\n" + "\n".join(faults)
