"""The control socket under pressure: too many connections, no descriptors, lines that are no requests."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from otherusers import HOSTILE
from patience import LONG, soon, until

from emulab.errors import EmulabError, UserError
from emulab.lab.client import wire
from emulab.lab.client.client import LabClient
from emulab.lab.folders import rundir
from emulab.lab.supervisor.control import ControlServer

SERVER = """
import asyncio, os, resource, sys
from pathlib import Path
from emulab.lab.supervisor.control import ControlServer

class Operations:
    def __getattr__(self, name):
        async def operation(arguments, progress):
            if name == "ready":
                await asyncio.Event().wait()
            with open(os.devnull):  # most operations need one, too
                return {"fds": len(os.listdir("/proc/self/fd")), "asked": name}
        return operation

limit, free = map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

async def main():
    server = asyncio.ensure_future(ControlServer(Operations(), Path(sys.argv[1])).run())
    await asyncio.sleep(0)
    fillers = []
    try:
        while True:
            fillers.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for fd in fillers[len(fillers) - free:] if free >= 0 else fillers:
            os.close(fd)
    print("ready", flush=True)
    await server

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    return rundir.make("x")


@contextmanager
def serving(path: Path, limit: int, free: int = -1) -> Iterator[subprocess.Popen[str]]:
    """A control server with so many descriptors at most, of which so many are free (-1: all that it doesn't use)."""
    command = [sys.executable, "-c", SERVER, str(path), str(limit), str(free)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
            assert process.poll() is None, "it has ended"
        finally:
            process.kill()


def connected(path: Path, said: bytes = b"") -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(LONG)
    with rundir.socket_path(path) as address:
        sock.connect(address)
    sock.sendall(said)
    return sock


def ask(path: Path) -> Any:
    with LabClient(path) as client:
        client.socket.settimeout(LONG)
        return client.request("summary")["asked"]


@pytest.mark.parametrize("said", [b"", b'{"op": "summ'])
def test_a_thousand_idle_connections_leave_room_for_the_next(path: Path, said: bytes) -> None:
    with serving(path, 256), ExitStack() as held:
        for _ in range(10):
            for _ in range(100):
                held.enter_context(connected(path, said))
            assert ask(path) == "summary"
        with LabClient(path) as client:
            assert client.request("summary")["fds"] < 100, "there is a bound"


def test_idle_connections_give_way_where_there_are_no_descriptors(path: Path) -> None:
    with serving(path, 64, free=3), ExitStack() as held:
        for _ in range(40):
            held.enter_context(connected(path))
            assert ask(path) == "summary"


def test_a_place_is_kept_though_all_are_busy(path: Path) -> None:
    with serving(path, 64, free=3), ExitStack() as held:
        for _ in range(3):
            held.enter_context(connected(path, b'{"op": "ready"}\n'))
        for _ in range(3):
            assert ask(path) == "summary"


def test_who_is_one_too_many_is_told_so(path: Path) -> None:
    with serving(path, 64), ExitStack() as held:  # of which 16 may be connections
        for _ in range(16):
            held.enter_context(connected(path, b'{"op": "ready"}\n'))
        end = time.monotonic() + LONG
        while True:  # it may not have read all of them yet
            with connected(path, b'{"op": "summary"}\n') as one:
                answer = json.loads(one.recv(65536))
            if "error" in answer:
                break
            assert time.monotonic() < end
        assert (
            answer["error"]
            == "the lab does what others have asked for, as much as it can at once: try again later"
        )


def test_a_dismissed_client_is_told_that_the_lab_lives(path: Path) -> None:
    lock = rundir.take_lock(path)
    assert lock is not None
    with serving(path, 64), LabClient(path) as client, ExitStack() as held:
        for _ in range(40):
            held.enter_context(connected(path))
            ask(path)
        with pytest.raises(EmulabError, match=r"^lab 'x' has closed the connection; try again$"):
            client.request("summary")
    os.close(lock)


# the socket's other end


@pytest.mark.root
def test_nothing_is_said_to_another_users_socket(path: Path) -> None:
    """Whose a socket is tells who listened: he who made it may have been somebody else (unix(7))."""
    listener = socket.socket(socket.AF_UNIX)
    with rundir.socket_path(path) as address:
        listener.bind(address)
    os.seteuid(HOSTILE)
    try:
        listener.listen()
    finally:
        os.seteuid(0)
    with pytest.raises(
        UserError, match=rf"control.sock is another user's \(uid {HOSTILE}\): nothing was asked"
    ):
        LabClient(path)
    accepted, _ = listener.accept()
    assert accepted.recv(100) == b""
    listener.close()


class Asked:
    """Operations that only note what they are asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.calls.append(name)


@pytest.mark.root
async def test_another_users_request_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    server = asyncio.ensure_future(ControlServer(asked, path).run())  # type: ignore[arg-type]
    await until((path / "control.sock").exists)
    os.chmod(path, 0o711)
    os.chmod(path / "control.sock", 0o777)
    monkeypatch.chdir(path)
    with socket.socket(socket.AF_UNIX) as stranger:
        os.seteuid(HOSTILE)
        try:
            stranger.connect("control.sock")
        finally:
            os.seteuid(0)
        stranger.setblocking(False)
        loop = asyncio.get_running_loop()
        answer = json.loads(await soon(loop.sock_recv(stranger, 65536)))
        assert answer["error"] == f"this lab is another user's, and not yours (uid {HOSTILE})"
        assert await soon(loop.sock_recv(stranger, 65536)) == b""
    assert asked.calls == []
    server.cancel()
    await asyncio.wait([server])


# lines


async def read(*said: bytes, room: wire.LineRoom | None = None) -> list[Any]:
    """What a reader makes of it."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    reader = wire.LineReader(theirs, room)

    async def send() -> None:
        for part in said:
            await asyncio.get_running_loop().sock_sendall(ours, part)
        ours.close()

    sending = asyncio.ensure_future(send())
    found: list[Any] = []
    try:
        while (line := await reader.line()) is not None:
            found.append(line)
    finally:
        theirs.close()
        await asyncio.wait([sending])
        sending.exception()
    return found


async def test_lines_may_come_together_and_in_pieces() -> None:
    assert await read(b'{"a": 1}\n{"b"', b": 2}\n", b'{"c": 3}\n{"d": 4') == [{"a": 1}, {"b": 2}, {"c": 3}]


async def test_what_is_too_deep_is_refused_in_a_line() -> None:
    """How much that is, is Python's to say: 3.11 reads some 1,000 levels, and 3.13 some ten thousands."""

    def nested(depth: int) -> bytes:
        return b'{"op": ' + b"[" * depth + b"]" * depth + b"}\n"

    assert len(await read(nested(100))) == 1
    for depth in (1500, 30_000):
        try:
            assert len(await read(nested(depth))) == 1
        except UserError as refused:
            assert "nested too deeply" in str(refused), depth
    with pytest.raises(UserError, match="nested too deeply"):
        await read(nested(1_000_000))


async def test_long_lines_share_what_room_there_is() -> None:
    room = wire.LineRoom(3 << 20)
    long = b'{"x": "' + b"y" * (1 << 20) + b'"}\n'
    assert len(await read(long, long, room=room)) == 2, "it is given back after each"
    room.take(5 << 19)
    with pytest.raises(UserError, match="the lab takes in 256 MiB of requests at once"):
        await read(long, room=room)
    room.give_back(5 << 19)
    assert len(await read(long, room=room)) == 1, "it is given back after a refusal, too"
    assert len(await read(b'{"x": "' + b"y" * 60_000 + b'"}\n', room=wire.LineRoom(0))) == 1, (
        "a short line needs none"
    )


async def test_descriptors_come_with_a_request_and_are_closed_with_it() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader = wire.LineReader(theirs)
    with ours, theirs, socket.socket() as null:
        socket.send_fds(ours, [b'{"op": "exec"}\n'], [null.fileno()] * 3)
        assert await reader.line() == {"op": "exec"}
        kept = list(reader.descriptors)
        assert [os.path.samestat(os.fstat(fd), os.fstat(null.fileno())) for fd in kept] == [True] * 3
        assert not any(os.get_inheritable(fd) for fd in kept)
        ours.sendall(b'{"op": "get"}\n')
        assert await reader.line() == {"op": "get"} and reader.descriptors == []
        for fd in kept:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)
        socket.send_fds(ours, [b"{"], [null.fileno()] * 150)
        socket.send_fds(ours, [b"}\n"], [null.fileno()] * 150)
        with pytest.raises(UserError, match="at most 200 descriptors"):
            await reader.line()
        assert reader.descriptors == []
