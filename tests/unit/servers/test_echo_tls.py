"""Who begins a connection to a stand-in with TLS is answered in TLS, on whatever port."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import tempfile
from typing import Any

from loopback import bound
from server_records import Told
from serverloop import on_uvloop

from emulab.servers.echo.server import create
from emulab.servers.selfsigned import self_signed


async def _opened() -> tuple[object, int]:
    sock = bound()
    port = sock.getsockname()[1]
    key = f"tcp/127.0.0.1/{port}"
    server = create(Told())
    await server.configure({"listen": [key]}, {key: sock})
    return server, port


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _asked(port: int, requests: bytes, secured: bool) -> bytes:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    with _trusting().wrap_socket(sock) if secured else sock as speaking:
        speaking.sendall(requests)
        answer = b""
        while chunk := speaking.recv(1 << 16):
            answer += chunk
        return answer


async def _ask(port: int, requests: bytes, secured: bool) -> bytes:
    """What comes until the end. Who asks is no loop: uvloop's own TLS drops what it has paused at."""
    return await asyncio.to_thread(_asked, port, requests, secured)


@on_uvloop
async def test_one_port_answers_in_clear_and_in_tls() -> None:
    server, port = await _opened()
    for secured in (True, False, True):
        request = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\nGET /y HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        answer = await _ask(port, request, secured)
        bodies = [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
        assert [json.loads(body)["path"] for body in bodies] == ["/x", "/y"]
    await server.close()  # type: ignore[attr-defined]


@on_uvloop
async def test_much_is_streamed_over_tls() -> None:
    server, port = await _opened()
    request = b"GET /bytes/3000000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    answer = await _ask(port, request, True)
    assert len(answer.partition(b"\r\n\r\n")[2]) == 3_000_000
    await server.close()  # type: ignore[attr-defined]


@on_uvloop
async def test_what_only_looks_like_tls_ends_its_connection_alone() -> None:
    server, port = await _opened()
    assert (await _ask(port, b"\x16\x03\x01\x00\x05hello", False))[:1] == b"\x15"  # an alert
    assert b" 200 OK" in await _ask(port, b"GET / HTTP/1.0\r\n\r\n", False)
    await server.close()  # type: ignore[attr-defined]


@on_uvloop
async def test_who_plays_a_program_has_its_certificate() -> None:
    """And tells of what was agreed on, and of the client's own certificate."""
    certificate, key = self_signed("tests", "backend", ["backend.test"])
    sock = bound()
    port = sock.getsockname()[1]
    name = f"tcp/127.0.0.1/{port}"
    options = {"port": "3000", "certificate": certificate, "key": key, "authorities": certificate}
    identity = {
        "namespace": "n",
        "pod": "p",
        "ports": {str(port): {"says": "echo-basic", "options": options}},
    }
    server = create(Told())
    await server.configure({"listen": [name], "identities": {"127.0.0.1": identity}}, {name: sock})

    def ask(own: bool) -> dict[str, Any]:
        context = ssl.create_default_context(cadata=certificate)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(certificate + key)
            file.flush()
            if own:
                context.load_cert_chain(file.name)
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        with context.wrap_socket(plain, server_hostname="backend.test") as speaking:
            speaking.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            answer = b""
            while chunk := speaking.recv(1 << 16):
                answer += chunk
        return dict(json.loads(answer.partition(b"\r\n\r\n")[2])["tls"])

    told = await asyncio.to_thread(ask, False)
    assert (told["serverName"], told["version"]) == ("backend.test", "TLSv1.3")
    assert told["cipherSuite"].startswith("TLS_") and "peerCertificates" not in told
    assert (await asyncio.to_thread(ask, True))["peerCertificates"] == [certificate]
    await server.close()
