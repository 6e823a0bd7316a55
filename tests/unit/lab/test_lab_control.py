"""The control socket: requests, answers, progress, and clients that leave."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from patience import LONG

import emulab
from emulab.errors import EmulabError, KernelError, ManifestError, UserError
from emulab.lab.client import wire
from emulab.lab.client.client import MAX_FDS, LabClient
from emulab.lab.supervisor.control import ControlServer

Progress = Callable[[str], None]


class Operations:
    """Every operation is the test's `act`; what it is called with is noted."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.act: Callable[[Mapping[str, Any], Progress], Any] = lambda arguments, progress: None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def operation(arguments: Mapping[str, Any], progress: Progress) -> Any:
            self.calls.append((name, dict(arguments)))
            result = self.act(arguments, progress)
            return await result if asyncio.iscoroutine(result) else result

        return operation

    def open_sockets(self, arguments: Mapping[str, Any]) -> list[socket.socket]:
        if arguments["target"] != "client":
            raise UserError("no such place")
        count = arguments.get("count", 1)
        return [socket.socket(arguments["family"], arguments["type"]) for _ in range(count)]


class Peer:
    """A client, line by line."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    async def send(self, **message: Any) -> None:
        await wire.write_line(self.sock, message)

    async def line(self) -> Any:
        loop = asyncio.get_running_loop()
        while b"\n" not in self._buffer:
            async with asyncio.timeout(LONG):
                chunk = await loop.sock_recv(self.sock, 65536)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    async def ask(self, **message: Any) -> Any:
        await self.send(**message)
        return await self.line()


@asynccontextmanager
async def serving(operations: Operations, path: Path) -> AsyncIterator[tuple[Peer, asyncio.Task[None]]]:
    """A connection to a server of these operations, and the task that serves it."""
    server = ControlServer(operations, path)  # type: ignore[arg-type]
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    task = asyncio.ensure_future(server._serve(theirs))
    with ours:
        yield Peer(ours), task
    await asyncio.wait([task], timeout=LONG)
    assert task.done(), "the server waits for a client that has left"


@pytest.fixture
def operations() -> Operations:
    return Operations()


async def test_requests_are_answered_one_after_the_other(operations: Operations, tmp_path: Path) -> None:
    operations.act = lambda arguments, _: {"got": arguments.get("x")}
    async with serving(operations, tmp_path) as (peer, _):
        assert await peer.ask(op="get", x=1) == {"result": {"got": 1}}
        assert await peer.ask(op="resolver-files", x="ü") == {"result": {"got": "ü"}}
    assert [(name, a["x"]) for name, a in operations.calls] == [("get", 1), ("resolver_files", "ü")]


async def test_every_operation_that_is_asked_for_is_there(operations: Operations, tmp_path: Path) -> None:
    sources = Path(emulab.__file__).parent.rglob("*.py")
    asked = {op for source in sources for op in re.findall(r'\.request\(\s*"([a-z-]+)"', source.read_text())}
    assert {"apply", "get", "kinds", "watch"} <= asked
    for op in sorted(asked - {"observe"}):  # which is no operation of the table
        async with serving(operations, tmp_path) as (peer, _):
            assert await peer.ask(op=op) == {"result": None}, op


@pytest.mark.parametrize("op", ["nonsense", "", None, "_serve", 5])
async def test_an_unknown_operation(operations: Operations, tmp_path: Path, op: Any) -> None:
    async with serving(operations, tmp_path) as (peer, _):
        assert await peer.ask(op=op) == {
            "error": f"the lab knows no operation {op!r}; is it of another version?",
            "kind": "user",
            "problems": [],
        }
        assert await peer.ask(op="get") == {"result": None}, "the connection goes on"
    assert operations.calls == [("get", {"op": "get"})]


@pytest.mark.parametrize(
    ("error", "kind", "problems"),
    [
        (UserError("no such pod"), "user", []),
        (KernelError("add link", "node1", 17), "kernel", []),
        (EmulabError("not ready in time"), "", []),
        (ManifestError(["a:1: x", "b:2: y"]), "user", ["a:1: x", "b:2: y"]),
    ],
)
async def test_errors_are_told_with_whose_fault_they_are(
    operations: Operations, tmp_path: Path, error: EmulabError, kind: str, problems: list[str]
) -> None:
    def act(_: Any, __: Progress) -> None:
        raise error

    operations.act = act
    async with serving(operations, tmp_path) as (peer, _):
        assert await peer.ask(op="apply") == {"error": str(error), "kind": kind, "problems": problems}
        assert await peer.ask(op="nonsense") is not None


async def test_a_crash_is_one_error_line(
    operations: Operations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operations.act = lambda arguments, _: arguments["missing"]
    async with serving(operations, tmp_path) as (peer, _):
        answer = await peer.ask(op="get")
        assert answer == {"error": f"a fault of emulab: KeyError('missing'); see {tmp_path}/supervisor.log"}
        operations.act = lambda arguments, _: "fine"
        assert await peer.ask(op="get") == {"result": "fine"}
    assert "KeyError: 'missing'" in capsys.readouterr().err


async def test_progress_is_told_while_the_work_goes_on(operations: Operations, tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def act(_: Any, progress: Progress) -> str:
        progress("one")
        progress("two")
        await go_on.wait()
        return "done"

    operations.act = act
    async with serving(operations, tmp_path) as (peer, _):
        await peer.send(op="apply")
        assert [await peer.line(), await peer.line()] == [{"progress": "one"}, {"progress": "two"}]
        go_on.set()
        assert await peer.line() == {"result": "done"}


async def test_a_client_that_leaves_cancels_its_request(operations: Operations, tmp_path: Path) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def act(_: Any, __: Progress) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    operations.act = act
    async with serving(operations, tmp_path) as (peer, _):
        await peer.send(op="ready")
        await begun.wait()
        peer.sock.close()
        async with asyncio.timeout(LONG):
            await ended.wait()


async def test_what_is_cancelled_may_clean_up_in_peace(operations: Operations, tmp_path: Path) -> None:
    """A change that is taken back awaits the kernel; it must not be cancelled again and again meanwhile."""
    begun, ended = asyncio.Event(), asyncio.Event()
    cleaned: list[int] = []

    async def act(_: Any, __: Progress) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                for step in range(3):
                    await asyncio.to_thread(cleaned.append, step)
            finally:
                ended.set()
            raise

    operations.act = act
    async with serving(operations, tmp_path) as (peer, _):
        await peer.send(op="apply")
        await begun.wait()
        peer.sock.close()
        async with asyncio.timeout(LONG):
            await ended.wait()
    assert cleaned == [0, 1, 2]


async def test_a_client_that_leaves_before_it_hears_of_progress(
    operations: Operations, tmp_path: Path
) -> None:
    ended = asyncio.Event()
    leave: list[Callable[[], None]] = []

    async def act(_: Any, progress: Progress) -> None:
        leave[0]()
        progress("nobody is there any more")
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    operations.act = act
    async with serving(operations, tmp_path) as (peer, task):
        leave.append(peer.sock.close)
        await peer.send(op="apply")
        await asyncio.wait([task], timeout=LONG)
        assert task.done() and ended.is_set(), "its request goes on"


async def test_a_client_that_speaks_out_of_turn_is_answered_in_turn(
    operations: Operations, tmp_path: Path
) -> None:
    go_on = asyncio.Event()

    async def act(arguments: Mapping[str, Any], _: Progress) -> Any:
        await go_on.wait()
        return arguments["n"]

    operations.act = act
    async with serving(operations, tmp_path) as (peer, _):
        await peer.send(op="get", n=1)
        while not operations.calls:
            await asyncio.sleep(0)
        await peer.send(op="get", n=2)
        go_on.set()
        assert [await peer.line(), await peer.line()] == [{"result": 1}, {"result": 2}]


@pytest.mark.parametrize("data", [b"not json\n", b"[1]\n", b"null\n", b"\xff\n"])
async def test_what_is_no_request_ends_the_connection(
    operations: Operations, tmp_path: Path, data: bytes
) -> None:
    async with serving(operations, tmp_path) as (peer, _):
        await asyncio.get_running_loop().sock_sendall(peer.sock, data)
        assert await peer.line() is None
    assert operations.calls == []


async def test_a_request_may_come_in_pieces(operations: Operations, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with serving(operations, tmp_path) as (peer, _):
        for piece in (b'{"op": ', b'"get", "x": "', b"y" * 300_000, b'"}\n'):
            await loop.sock_sendall(peer.sock, piece)
        assert await peer.line() == {"result": None}
    assert operations.calls[0][1]["x"] == "y" * 300_000


# The client's side


@asynccontextmanager
async def listening(operations: Operations, path: Path) -> AsyncIterator[None]:
    server = ControlServer(operations, path)  # type: ignore[arg-type]
    task = asyncio.ensure_future(server.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()


async def test_the_client_gets_results_errors_and_progress(operations: Operations, tmp_path: Path) -> None:
    def act(arguments: Mapping[str, Any], progress: Progress) -> Any:
        if arguments["n"] == 1:
            raise ManifestError(["a:1: x"])
        if arguments["n"] == 2:
            raise KernelError("add link")
        return "r"

    def talk() -> list[Any]:
        found: list[Any] = []
        with LabClient(tmp_path) as client:
            for n in range(3):
                try:
                    found.append(client.request("get", n=n))
                except EmulabError as error:
                    found.append(error)
        return found

    operations.act = act
    async with listening(operations, tmp_path):
        assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600
        result, manifest, kernel = await asyncio.to_thread(talk)
    assert result == "r"
    assert isinstance(manifest, ManifestError) and manifest.problems == ["a:1: x"]
    assert isinstance(kernel, KernelError) and str(kernel) == "add link"


async def test_the_client_gets_a_socket(operations: Operations, tmp_path: Path) -> None:
    def talk() -> tuple[int, Any]:
        with LabClient(tmp_path) as client:
            made = client.request_socket(
                target="client", family=int(socket.AF_INET), type=int(socket.SOCK_DGRAM)
            )
            kind = int(made.type)
            made.close()
            several = client.request_sockets(MAX_FDS, target="client", family=2, type=1)
            assert len({one.fileno() for one in several}) == MAX_FDS
            for one in several:
                one.close()
            with pytest.raises(UserError, match="no such place"):
                client.request_socket(target="x", family=2, type=1)
            return kind, client.request("get")

    async with listening(operations, tmp_path):
        gc.collect()  # what others left is not to be closed in between
        before = len(os.listdir("/proc/self/fd"))
        assert await asyncio.to_thread(talk) == (int(socket.SOCK_DGRAM), None)
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0)


def test_a_lab_that_is_not_up(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not up; start it with: emulab -l .* up"):
        LabClient(tmp_path / "shop")
