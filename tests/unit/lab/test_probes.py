"""A probe by HTTP over loopback: what the pod sees of it, and what counts as a success."""

from __future__ import annotations

import asyncio
import socket

import pytest
from loopback import has_ipv6
from patience import LONG

from emulab.kinds.core.podspec import HTTPGet, Probe
from emulab.lab.kubelet import probes
from emulab.lab.kubelet.probes import Aim, attempt

OK = b"HTTP/1.1 200 OK\r\n"


async def probed(
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    get: HTTPGet,
    keep: bool = False,
    timeout: float = LONG,
    address: str = "127.0.0.1",
) -> tuple[bool, bytes]:
    """The verdict, and the request. Who answers keeps the connection, or ends it."""
    requests: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if keep:
            await reader.read()
        writer.close()

    def open_socket(_: int, family: int, kind: int) -> socket.socket:
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        return sock

    async def no_command(_: tuple[str, ...]) -> int:
        raise AssertionError

    monkeypatch.setattr(probes.sockets, "open_socket", open_socket)
    async with await asyncio.start_server(serve, address, 0) as server:
        port = server.sockets[0].getsockname()[1]
        probe = Probe(get, None, None, 0.0, 1.0, timeout, 1, 1)
        verdict = await attempt(probe, Aim(-1, address, lambda _: port, no_command))
    return verdict, (await requests.get()).replace(str(port).encode(), b"PORT")


def get(path: str = "/healthz", **more: object) -> HTTPGet:
    return HTTPGet(**{"path": path, "port": 80, "host": "", "scheme": "HTTP", "headers": (), **more})  # type: ignore[arg-type]


async def test_the_pod_sees_the_kubelets_request(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = OK + b"Content-Length: 2\r\n\r\nok"
    asked = get("/a b?c", headers=(("X-Probe", "1"), ("Host", "named.test")))
    assert await probed(monkeypatch, answer, get(), keep=True) == (
        True,
        b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\nuser-agent: kube-probe/1.34\r\nconnection: close\r\n\r\n",
    )
    assert (await probed(monkeypatch, answer, asked))[1] == (
        b"GET /a%20b?c HTTP/1.1\r\nhost: named.test\r\nuser-agent: kube-probe/1.34\r\nx-probe: 1\r\n"
        b"connection: close\r\n\r\n"
    )


@pytest.mark.skipif(not has_ipv6(), reason="loopback has no IPv6 here")
async def test_a_pod_of_ipv6_is_named_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await probed(monkeypatch, OK + b"\r\n", get(), address="::1")
    assert found[0] and b"\r\nhost: [::1]:PORT\r\n" in found[1]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (OK + b"\r\n", True),
        (b"HTTP/1.0 204 No Content\n\n", True),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", True),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (OK + b"\r\n" + bytes(1 << 20), True),  # longer than anybody reads
        (OK + b"Content-Length: 9\r\n\r\nshort", False),
        (OK, False),
        (b"SSH-2.0-x\r\n", False),
        (b"", False),
    ],
)
async def test_a_verdict(monkeypatch: pytest.MonkeyPatch, answer: bytes, verdict: bool) -> None:
    assert (await probed(monkeypatch, answer, get()))[0] is verdict


async def test_an_answer_has_to_come_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = OK + b"Content-Length: 9\r\n\r\nbegun"
    assert (await probed(monkeypatch, answer, get(), keep=True, timeout=0.2))[0] is False
