"""Probes over loopback: what the pod sees of one by HTTP, what counts as a success, and what is said of a failure."""

from __future__ import annotations

import asyncio
import socket

import pytest
from loopback import has_ipv6
from patience import LONG

from emulab.errors import KernelError
from emulab.kernel import sockets
from emulab.kinds.core.probespec import HTTPGet, Probe
from emulab.lab.kubelet.probes import Aim, attempt

OK = b"HTTP/1.1 200 OK\r\n"


async def probed(
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    get: HTTPGet,
    keep: bool = False,
    timeout: float = LONG,
    address: str = "127.0.0.1",
) -> tuple[bool | None, bytes]:
    """Whether it succeeded, and the request. Who answers keeps the connection, or ends it."""
    verdict, request, _ = await asked(monkeypatch, answer, get, keep, timeout, address)
    return verdict, request


async def asked(
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    get: HTTPGet,
    keep: bool = False,
    timeout: float = LONG,
    address: str = "127.0.0.1",
) -> tuple[bool | None, bytes, str]:
    """As above, and what is said of it."""
    requests: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if keep:
            await reader.read()
        writer.close()

    monkeypatch.setattr(sockets, "open_socket", open_socket)
    async with await asyncio.start_server(serve, address, 0) as server:
        port = server.sockets[0].getsockname()[1]
        probe = Probe(get, None, None, 0.0, 1.0, timeout, 1, 1)
        verdict = await attempt(probe, Aim(-1, address, lambda _: port, no_command))
    request = (await requests.get()).replace(str(port).encode(), b"PORT")
    return verdict.success, request, verdict.output.replace(str(port), "PORT")


def open_socket(_: int, family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock


async def no_command(_: tuple[str, ...]) -> tuple[int, str]:
    raise AssertionError


def get(path: str = "/healthz", **more: object) -> HTTPGet:
    return HTTPGet(**{"path": path, "port": 80, "host": "", "scheme": "HTTP", "headers": (), **more})  # type: ignore[arg-type]


async def test_the_pod_sees_the_kubelets_request(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = OK + b"Content-Length: 2\r\n\r\nok"
    named = get("/a b?c", headers=(("X-Probe", "1"), ("Host", "named.test")))
    assert await probed(monkeypatch, answer, get(), keep=True) == (
        True,
        b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\nuser-agent: kube-probe/1.35\r\nconnection: close\r\n\r\n",
    )
    assert (await probed(monkeypatch, answer, named))[1] == (
        b"GET /a%20b?c HTTP/1.1\r\nhost: named.test\r\nuser-agent: kube-probe/1.35\r\nx-probe: 1\r\n"
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
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\n\r\n", True),
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


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (OK + b"\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP probe failed with statuscode: 503"),
        (b"", 'Get "http://127.0.0.1:PORT/healthz": EOF'),
    ],
)
async def test_what_is_said_of_an_answer(monkeypatch: pytest.MonkeyPatch, answer: bytes, output: str) -> None:
    assert (await asked(monkeypatch, answer, get()))[2] == output


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_what_is_said_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "open_socket", open_socket)
    port = free_port()
    aim = Aim(-1, "127.0.0.1", lambda _: port, no_command)
    refused = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert await attempt(Probe(None, port, None, 0.0, 1.0, LONG, 1, 1), aim) == (False, refused)
    for path in ("/healthz", "healthz"):
        one = await attempt(Probe(get(path), None, None, 0.0, 1.0, LONG, 1, 1), aim)
        assert one == (False, f'Get "http://127.0.0.1:{port}/healthz": {refused}')
    unnamed = Aim(-1, "127.0.0.1", lambda _: None, no_command)
    assert await attempt(Probe(get(port="web"), None, None, 0.0, 1.0, LONG, 1, 1), unnamed) == (
        None,
        'strconv.Atoi: parsing "web": invalid syntax',
    )


async def test_what_is_said_of_a_command() -> None:
    async def run(command: tuple[str, ...]) -> tuple[int, str]:
        if command[0] == "late":
            await asyncio.sleep(LONG)
        if command[0] == "missing":
            raise KernelError("missing: command not found")
        return int(command[1]), f"{command[0]} said\n"

    def probe(*command: str, timeout: float = LONG) -> Probe:
        return Probe(None, None, command, 0.0, 1.0, timeout, 1, 1)

    aim = Aim(-1, "", lambda _: None, run)
    assert await attempt(probe("it", "0"), aim) == (True, "it said\n")
    assert await attempt(probe("it", "3"), aim) == (False, "it said\n")
    assert await attempt(probe("late", "0", timeout=0.01), aim) == (
        False,
        'command timed out: "late 0" timed out after 10ms',
    )
    assert await attempt(probe("missing", "0"), aim) == (None, "missing: command not found")
