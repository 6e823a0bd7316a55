"""What a hosting process keeps for whom; and the process itself, over its control socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from patience import LONG

from emulab.errors import KernelError
from emulab.servers.crew.remote import RemoteServer
from emulab.servers.records import Records


def keeper(room: int = 100) -> tuple[Records, list[dict[str, Any]]]:
    sent: list[dict[str, Any]] = []
    return Records(lambda record: sent.append(dict(record)), room, itertools.count(1000).__next__), sent


def numbers(records: Records, recorder: int) -> list[int]:
    return [record["n"] for record in records.since(recorder)[0]]


def tell(records: Records, *told: int) -> None:
    for number in told:
        records({"event": "request", "n": number})


def test_nothing_is_kept_without_a_recorder() -> None:
    records, sent = keeper()
    tell(records, 1)
    records({"event": "health", "healthy": False})
    assert not records.wanted and sent == [{"event": "health", "healthy": False}]
    records.record([7])
    assert records.wanted and records.since(7) == ([], 0)


def test_records_are_kept_with_their_time() -> None:
    records, sent = keeper()
    records.record([7])
    tell(records, 1)
    records({"event": "error", "message": "m"})
    records({"event": "proxy-accept", "time": 5})
    assert records.since(7) == (
        [
            {"event": "request", "n": 1, "time": 1001},
            {"event": "error", "message": "m", "time": 1002},
            {"event": "proxy-accept", "time": 5},
        ],
        0,
    )
    assert records.began == {7: 1000}
    assert sent == [{"event": "error", "message": "m"}]


def test_each_recorder_has_what_came_since_its_own_beginning() -> None:
    records, _ = keeper()
    records.record([1])
    tell(records, 1, 2)
    records.record([1, 2])
    tell(records, 3)
    assert numbers(records, 1) == [1, 2, 3] and numbers(records, 2) == [3]
    records.record([2])  # the first one has left, and its records with it
    tell(records, 4)
    assert numbers(records, 1) == [] and numbers(records, 2) == [3, 4]
    assert len(records._kept) == 2
    records.record([])
    assert not records.wanted and len(records._kept) == 0
    tell(records, 5)
    records.record([3])
    tell(records, 6)
    assert numbers(records, 3) == [6]


def test_the_oldest_make_room_and_are_counted() -> None:
    records, _ = keeper(room=3)
    records.record([1])
    tell(records, 1, 2, 3, 4)
    records.record([1, 2])
    tell(records, 5)
    assert numbers(records, 1) == [3, 4, 5] and records.since(1)[1] == 2
    assert numbers(records, 2) == [5] and records.since(2)[1] == 0
    records.record([2])
    assert numbers(records, 2) == [5]


class Hosted:
    """A server's process and its control socket."""

    def __init__(self, kind: str, room: int = 0) -> None:
        """`room`: octets that the process may send before they are read."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if room:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        self.control.settimeout(LONG)
        code = "import socket; from emulab.servers import host; host.serve({!r}, socket.socket(fileno={}))"
        command = [sys.executable, "-c", code.format(kind, theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self.told: list[dict[str, Any]] = []
        self._ids = itertools.count(1)

    def ask(self, op: str, *fds: int, **arguments: Any) -> Any:
        number = next(self._ids)
        message = json.dumps({"id": number, "op": op, **arguments}).encode()
        socket.send_fds(self.control, [message], list(fds))
        while True:
            answer = json.loads(self.control.recv(1 << 16))
            if "record" in answer:
                self.told.append(answer["record"])
                continue
            assert answer["id"] == number
            if "error" in answer:
                raise ValueError(answer["error"])
            return answer["result"]

    def configure(self, config: dict[str, Any], sockets: dict[str, socket.socket]) -> None:
        self.ask("sockets", *(sock.fileno() for sock in sockets.values()), keys=list(sockets))
        with contextlib.closing(os.fdopen(os.memfd_create("config"), "w")) as file:
            json.dump(config, file)
            file.flush()
            self.ask("configure", file.fileno())

    def records(self, recorder: int) -> list[dict[str, Any]]:
        with os.fdopen(os.memfd_create("records")) as file:
            told = self.ask("records", file.fileno(), recorder=recorder)
            file.seek(0)
            records = [json.loads(line) for line in file]
            assert (told["count"], told["lost"]) == (len(records), 0) and told["began"] <= time.time_ns()
            return records


@pytest.fixture
def hosted() -> Iterator[tuple[Hosted, socket.socket]]:
    """An echo server's process and a connection to it."""
    host = Hosted("echo")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        key = f"tcp/127.0.0.1/{address[1]}"
        host.configure({"listen": [key]}, {key: listener})
    with socket.create_connection(address) as client:
        yield host, client
    host.control.close()
    assert host.process.wait(LONG) == 0


def get(client: socket.socket, path: str) -> None:
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"ok"):
        answer += client.recv(1000)


def test_a_process_keeps_its_records_until_they_are_fetched(hosted: tuple[Hosted, socket.socket]) -> None:
    host, client = hosted
    get(client, "/healthz?before")
    before = time.time_ns()
    host.ask("record", recorders=[1])
    get(client, "/healthz?first")
    host.ask("record", recorders=[1, 2])
    get(client, "/healthz?second")
    first, second = host.records(1)
    assert (first["path"], second["path"]) == ("/healthz?first", "/healthz?second")
    assert before < first["time"] < second["time"] < time.time_ns()
    assert host.records(2) == [second] and host.records(1) == [first, second]  # fetching takes nothing away
    host.ask("record", recorders=[2])
    assert host.records(1) == [] and host.records(2) == [second]
    host.ask("record", recorders=[])
    get(client, "/healthz?after")
    assert host.records(2) == [] and host.told == []


def test_records_may_be_larger_than_a_datagram(hosted: tuple[Hosted, socket.socket]) -> None:
    host, client = hosted
    host.ask("record", recorders=[1])
    for number in range(300):
        get(client, f"/healthz?{number}&{'x' * 1000}")
    records = host.records(1)
    assert [record["path"].split("&")[0] for record in records] == [f"/healthz?{n}" for n in range(300)]
    assert len(json.dumps(records)) > 1 << 18


async def test_who_asks_much_at_once_gets_every_answer() -> None:
    """Neither questions nor answers are lost for want of room in the socket: hundreds of pods may end at once."""
    host = Hosted("echo")
    server = RemoteServer("echo", host.control, lambda name, record: None)
    orders = [server.ask("order", order={"pod": ["default", f"web-{n}"], "now": False}) for n in range(2000)]
    assert await asyncio.gather(*orders) == [{"requests": 0}] * 2000
    waiting = [
        asyncio.ensure_future(server.ask("order", order={"pod": ["default", "x"], "now": False}))
        for _ in orders
    ]
    await asyncio.sleep(0)
    server.close()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, KernelError) for one in ended), (
        "who waits for room hears that the server has ended"
    )
    assert host.process.wait(LONG) == 0


def test_what_is_always_told_waits_for_room() -> None:
    """Rules and statuses would be wrong for good without it: hundreds of targets may fall with their first check."""
    host = Hosted("l4", room=20_000)
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as listener:
        closed.bind(("127.0.0.1", 0))
        key, port = f"tcp/127.0.0.1/{listener.getsockname()[1]}", closed.getsockname()[1]
        targets = [{"name": f"node{n}", "address": "127.0.0.1", "port": port} for n in range(100)]
        health = {"interval": 60, "timeout": LONG, "rise": 1, "fall": 2}
        frontend = {"balance": "roundrobin", "targets": targets, "health": health}
        host.configure({"listen": [key], "frontends": {key: frontend}}, {key: listener})
        deadline = time.monotonic() + LONG
        while any(one["healthy"] for one in host.ask("status")["frontends"][key]["targets"].values()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert {one["target"] for one in host.told} == {one["name"] for one in targets}
    host.control.close()
    assert host.process.wait(LONG) == 0


def test_what_is_always_told_is_told_at_once_and_kept() -> None:
    host = Hosted("ingress")
    host.ask("record", recorders=[1])
    broken = {"hosts": ["a.example"], "certificate": "none", "key": "none"}
    host.configure({"listen": [], "certificates": [broken]}, {})
    assert [record["event"] for record in host.told] == ["error"] and "time" not in host.told[0]
    (kept,) = host.records(1)
    assert kept.pop("time") and kept == host.told[0]
    host.control.close()
    assert host.process.wait(LONG) == 0
