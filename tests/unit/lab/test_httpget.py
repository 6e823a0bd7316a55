"""The kubelet's GET over loopback: which redirects it follows, as Go's http.Client does under pkg/probe/http."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from test_health import no_command, open_socket

from emulab.kernel import sockets
from emulab.kinds.core.probespec import Hook, HTTPGet, Probe
from emulab.lab.kubelet import hooks
from emulab.lab.kubelet.probes import Aim, Verdict, Warned, attempt

Answer = Callable[[str], str]


def answer(status: int, location: str = "", body: str = "") -> str:
    field = f"Location: {location}\r\n" if location else ""
    return f"HTTP/1.1 {status} X\r\n{field}Content-Length: {len(body)}\r\n\r\n{body}"


async def probed(
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, str],
    headers: tuple[tuple[str, str], ...] = (),
) -> tuple[Verdict, list[str]]:
    """What a probe comes to where paths are answered like that, and the requests, PORT in the port's place."""
    monkeypatch.setattr(sockets, "open_socket", open_socket)
    asked: list[str] = []
    port = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.replace(str(port), "PORT"))
        writer.write(answers[head.split(" ")[1]].replace("PORT", str(port)).encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        probe = Probe(HTTPGet("/a", port, "", "HTTP", headers), None, None, 0, 1, 60, 1, 1)
        verdict = await attempt(probe, Aim(-1, "127.0.0.1", lambda _: port, no_command))
    return verdict, asked


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/b", "b", "//127.0.0.1:PORT/b", "http://127.0.0.1:PORT/b"])
async def test_the_same_host_is_followed(monkeypatch: pytest.MonkeyPatch, status: int, location: str) -> None:
    """K8: what counts is what the other path says."""
    for last, well in ((200, True), (503, False)):
        verdict, asked = await probed(monkeypatch, {"/a": answer(status, location), "/b": answer(last)})
        assert verdict.success is well and [head.split(" ")[1] for head in asked] == ["/a", "/b"]
        assert "\r\nreferer: http://127.0.0.1:PORT/a\r\n" in asked[1]
    assert not isinstance(verdict, Warned)


async def test_another_host_is_not_followed_and_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, asked = await probed(monkeypatch, {"/a": answer(302, "http://elsewhere.test/b", "moved")})
    assert isinstance(verdict, Warned) and len(asked) == 1
    assert verdict == (True, "Probe terminated redirects, Response body: moved")


@pytest.mark.parametrize("one", [answer(300, "/b"), answer(304), answer(302)])
async def test_what_leads_nowhere_is_warned_of(monkeypatch: pytest.MonkeyPatch, one: str) -> None:
    verdict, asked = await probed(monkeypatch, {"/a": one})
    assert isinstance(verdict, Warned) and verdict.success and len(asked) == 1


async def test_ten_redirects_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, asked = await probed(monkeypatch, {"/a": answer(302, "/a")})
    assert len(asked) == 10
    assert verdict.success is False and verdict.output.endswith('/a": stopped after 10 redirects')


async def test_a_host_that_was_named_stays_where_the_redirect_names_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = (("Host", "named.test"), ("X-One", "1"))
    answers = {"/a": answer(302, "/b"), "/b": answer(302, "http://127.0.0.1:PORT/c"), "/c": answer(200)}
    _, asked = await probed(monkeypatch, answers, headers=named)
    hosts = [line for head in asked for line in head.split("\r\n") if line.startswith("host: ")]
    assert hosts == ["host: named.test", "host: named.test", "host: 127.0.0.1:PORT"]
    assert all("\r\nx-one: 1\r\n" in head for head in asked)


async def test_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "open_socket", open_socket)

    async def run(command: tuple[str, ...]) -> tuple[int, str]:
        return int(command[1]), "said\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(500).encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        aim = Aim(-1, "127.0.0.1", lambda name: port if name == "http" else None, run)
        get = HTTPGet("/stop", "http", "", "HTTP", ())
        assert await hooks.run(Hook(http=get), aim) == ""  # whatever the status
        missing = HTTPGet("/stop", "other", "", "HTTP", ())
        assert await hooks.run(Hook(http=missing), aim) == "couldn't find port: other"
        assert await hooks.run(Hook(command=("it", "0")), aim) == ""
        assert await hooks.run(Hook(command=("it", "3")), aim) == "command 'it 3' exited with 3: said"
        assert await hooks.run(Hook(sleep=0.0), aim) == ""
        assert await hooks.run(Hook(tcp=True), aim) == "invalid handler: tcpSocket"
    assert (await hooks.run(Hook(http=get), aim)).endswith("connect: connection refused")
