"""Several processes that serve as one balancer: a leader and another worker, as a lab starts them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from loopback import closed_port
from patience import LONG
from test_records import Hosted

from emulab.errors import KernelError
from emulab.servers.base import Server
from emulab.servers.crew.leader import Leader
from emulab.servers.crew.remote import RemoteServer
from emulab.servers.l4.server import L4Server

CODE = "import socket; from emulab.servers import host; host.serve('l4', socket.socket(fileno={}))"
FIRST_OF_WORKER = 10**12  # the numbers of its connections are greater
ENOUGH = 64  # connections of which, by whatever hash, some come to each of two
HEALTH = {"interval": 0.05, "timeout": LONG, "rise": 1, "fall": 1}


def listening(several: bool = False) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, several)
    sock.bind(("127.0.0.1", 0))
    sock.listen(ENOUGH)
    return sock


class Crew:
    """A leader with a frontend before a server that says hello."""

    def __init__(self) -> None:
        self.leader = Hosted("l4")
        self.workers: list[subprocess.Popen[bytes]] = []
        self.upstream, self.page = listening(), listening()
        self.target = self.upstream.getsockname()[1]
        threading.Thread(target=self._answer, daemon=True).start()
        self.add_worker()
        with listening(several=True) as listener, self.page:
            self.port, self.page_port = (sock.getsockname()[1] for sock in (listener, self.page))
            self.key, page_key = f"tcp/127.0.0.1/{self.port}", f"tcp/127.0.0.1/{self.page_port}"
            self.config = {"listen": [self.key, page_key], "metrics": [page_key], "frontends": {}}
            self.configure({self.key: listener, page_key: self.page})

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.upstream.accept()
                with client, contextlib.suppress(ConnectionError):  # who only checks has gone by then
                    client.send(b"hello")

    def add_worker(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            command = [sys.executable, "-c", CODE.format(theirs.fileno())]
            self.workers.append(subprocess.Popen(command, pass_fds=[theirs.fileno()]))
            self.leader.ask("worker", ours.fileno())

    def configure(self, sockets: dict[str, socket.socket], port: int = 0, **more: Any) -> None:
        target = {"name": "node", "address": "127.0.0.1", "port": port or self.target}
        frontend = {"balance": "roundrobin", "targets": [target], **more}
        self.config["frontends"] = {self.key: frontend}
        self.leader.configure(self.config, sockets)

    def ask(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.settimeout(LONG)
            try:
                return client.recv(10)
            except ConnectionResetError:
                return b"reset"

    def answers(self) -> set[bytes]:
        return {self.ask() for _ in range(ENOUGH)}

    def frontend(self) -> dict[str, Any]:
        found: dict[str, Any] = self.leader.ask("status")["frontends"][self.key]
        return found

    def workers_share(self) -> list[bool]:
        """Of each connection from now on for a while, whether the worker had it."""
        self.leader.ask("record", recorders=[1])
        assert self.answers() == {b"hello"}
        until(lambda: self.frontend()["open"] == 0)
        records = [one for one in self.leader.records(1) if one["event"] == "proxy-connect"]
        self.leader.ask("record", recorders=[])
        assert len({one["connection"] for one in records}) == len(records) == ENOUGH
        return [one["connection"] > FIRST_OF_WORKER for one in records]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def crew() -> Iterator[Crew]:
    made = Crew()
    yield made
    made.leader.control.close()
    assert made.leader.process.wait(LONG) == 0
    for worker in made.workers:
        worker.wait(LONG)
    made.upstream.close()


async def test_a_worker_that_takes_no_more_questions_has_not_answered() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        leader = Leader(cast(Server, None), lambda _, __: None)
        number = leader.take(ours)
        for _ in range(2000):
            leader.tell({"word": "w" * 1000})  # until there is no room
        assert leader.answers(number)  # it hasn't been asked before
        assert not leader.answers(number)
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while theirs.recv(1 << 16):
                pass
        assert not leader.answers(number)
        asked = json.loads(theirs.recv(1 << 16))
        theirs.send(json.dumps({"id": asked["id"], "result": None}).encode())
        leader.workers[0]._readable()
        assert leader.answers(number)
        leader.workers[0].close()


async def test_who_does_not_answer_in_time_is_named_with_what_was_asked() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = RemoteServer("node1.lb", ours, lambda _, __: None)
    with theirs, pytest.raises(KernelError, match=r"server node1\.lb: no answer to 'status' within 0\.05 s"):
        await server.ask("status", timeout=0.05)
    server.close()


class Judging:
    """A server that several make up, and that finds out who is sick."""

    def __init__(self) -> None:
        self.sick: list[str] = []

    def lead(self, _others: object) -> None:
        pass

    def for_worker(self, config: dict[str, Any], number: int) -> dict[str, Any]:
        return {**config, "worker": number, "unhealthy": [*self.sick]}

    def together(self, _others: object) -> dict[str, Any]:
        return {}


class Led:
    """A worker's end of its control socket."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        control.setblocking(False)

    async def next(self) -> dict[str, Any]:
        """The next command, which is answered; of a configuration with what it says."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._control, ready.set)
        await ready.wait()
        loop.remove_reader(self._control)
        data, fds, *_ = socket.recv_fds(self._control, 1 << 16, 10)
        command: dict[str, Any] = json.loads(data)
        if command["op"] == "configure":
            command["config"] = json.loads(os.pread(fds[0], 1 << 16, 0))
        for fd in fds:
            os.close(fd)
        self._control.send(json.dumps({"id": command["id"], "result": None}).encode())
        return command


async def test_a_worker_knows_what_was_found_out_while_it_was_given_sockets() -> None:
    """It could make nothing of that then, and nobody tells it once more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = Judging()
    leader = Leader(cast(Server, server), lambda _, __: None)
    leader.take(ours)
    with theirs, listening(several=True) as listener:
        worker, key = Led(theirs), f"tcp/127.0.0.1/{listener.getsockname()[1]}"
        leader.remember({key: listener})
        assert (await worker.next())["op"] == "record"
        configuring = asyncio.ensure_future(leader.configure({"listen": [key]}))
        await asyncio.sleep(0)  # its sockets are on their way
        server.sick.append("node2")
        leader.tell({"health": "of node2"})
        said = [await worker.next() for _ in range(3)]
        await configuring
        leader.workers[0].close()
    assert [one["op"] for one in said] == ["sockets", "tell", "configure"]
    assert said[-1]["config"]["unhealthy"] == ["node2"]


async def test_workers_hear_everything_in_its_order() -> None:
    """However many targets fall at once: who missed one would go on sending to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    leader = Leader(cast(Server, Judging()), lambda _, __: None)
    leader.take(ours)
    with theirs:
        worker = Led(theirs)
        await worker.next()
        for number in range(1000):
            leader.tell({"number": number, "word": "w" * 1000})
        heard = [(await worker.next())["message"]["number"] for _ in range(1000)]
        leader.workers[0].close()
    assert heard == [*range(1000)]


def test_a_worker_is_told_of_frontends_that_are_still_to_come() -> None:
    server = L4Server(lambda _: None)  # type: ignore[arg-type]
    server._worker = 1
    server.tell({"health": {"frontend": "tcp/192.0.2.1/80", "target": "node1", "healthy": False}})


def test_all_serve_and_are_counted_together(crew: Crew) -> None:
    shares = crew.workers_share()
    assert set(shares) == {True, False}
    found = crew.frontend()
    assert (found["total"], found["targets"]["node"]["total"]) == (ENOUGH, ENOUGH)
    assert found["bytes_out"] == found["targets"]["node"]["bytes_out"] == ENOUGH * len(b"hello")
    with urllib.request.urlopen(f"http://127.0.0.1:{crew.page_port}/metrics") as page:
        numbers = page.read().decode()
    assert f'haproxy_frontend_sessions_total{{proxy="{crew.key}"}} {ENOUGH}\n' in numbers


def test_a_patch_is_for_all(crew: Crew) -> None:
    frontend = {**crew.config["frontends"][crew.key], "source_ranges": ["192.0.2.0/24"]}
    with os.fdopen(os.memfd_create("patch"), "w") as file:
        json.dump({"frontends": {crew.key: frontend}}, file)
        file.flush()
        crew.leader.ask("patch", file.fileno())
    assert crew.answers() == {b"reset"}
    assert crew.frontend()["denied"] == ENOUGH


def test_what_the_leader_finds_out_is_known_to_all(crew: Crew) -> None:
    crew.configure({}, health={**HEALTH, "port": closed_port()})
    until(lambda: not crew.frontend()["targets"]["node"]["healthy"])
    until(lambda: crew.answers() == {b"reset"})
    before = crew.frontend()["targets"]["node"]["errors"]
    crew.add_worker()
    crew.configure({}, health={**HEALTH, "port": closed_port(), "rise": 2})
    assert crew.answers() == {b"reset"}  # the new one was told at once
    assert crew.frontend()["targets"]["node"]["errors"] == before  # nobody has tried the target
    crew.configure({}, health={**HEALTH, "port": crew.target})
    until(lambda: crew.answers() == {b"hello"})


def test_who_is_dismissed_ends_and_the_others_go_on(crew: Crew) -> None:
    crew.leader.ask("dismiss", number=1)
    crew.workers[0].wait(LONG)
    assert set(crew.workers_share()) == {False}
    crew.add_worker()
    crew.configure({})
    assert set(crew.workers_share()) == {True, False}


def test_one_that_is_killed_takes_no_more_than_its_own_connections_along(crew: Crew) -> None:
    crew.workers[0].kill()
    crew.workers[0].wait(LONG)
    assert set(crew.workers_share()) == {False}
    crew.configure({}, port=closed_port())
    assert crew.answers() == {b"reset"}


def test_workers_end_with_their_leader(crew: Crew) -> None:
    crew.leader.process.kill()
    assert crew.workers[0].wait(LONG) == 0
    crew.leader = Hosted("l4")
