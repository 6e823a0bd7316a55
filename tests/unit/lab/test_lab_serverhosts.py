"""Recording what servers tell: real server processes, without namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loopback import closed_port
from patience import TooLate, patiently, soon, until
from server_processes import Processes

from emulab.errors import KernelError
from emulab.kernel import sockets
from emulab.lab.hosts import pauses, pulse, recordings, serverhosts
from emulab.lab.hosts.hosted import Hosted
from emulab.lab.hosts.logs import Logs
from emulab.lab.hosts.processes import Process
from emulab.lab.hosts.recordings import RecordListener
from emulab.lab.hosts.serverhosts import ServerHosts
from emulab.plan.state import PlannedServer
from emulab.servers.crew.remote import RemoteServer
from emulab.servers.told import told_bytes


def open_listeners(wanted: Any, _everywhere: Any, _several: bool) -> dict[str, socket.socket]:
    try:
        return {
            key: socket.create_server(("127.0.0.1", int(key.rpartition("/")[2])), backlog=10)
            for key, *_ in wanted
        }
    except OSError as error:
        raise KernelError("listen", errno=error.errno or 0) from None


class Lab:
    """Two echo servers, and whoever records them."""

    def __init__(self, folder: Path) -> None:
        self.processes = Processes()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.hosts = ServerHosts(
            self.processes,  # type: ignore[arg-type]
            Logs(self.processes, folder),  # type: ignore[arg-type]
            lambda: None,
            lambda server, record: self.told.append((server, record)),
        )
        self.ports: dict[str, int] = {}

    def wanted(self, *names: str) -> Mapping[str, PlannedServer]:
        for name in names:
            if name not in self.ports:
                self.ports[name] = closed_port()
        keys = {name: f"tcp/127.0.0.1/{self.ports[name]}" for name in names}
        kinds = {name: "faulty" if name == "faulty" else "echo" for name in names}
        return {
            n: PlannedServer(n, kinds[n], "", {"listen": [key]}, {key: "here"}) for n, key in keys.items()
        }

    async def apply(self, *names: str) -> None:
        await self.hosts.apply(self.wanted(*names), {"here": SimpleNamespace(fd=-1)})  # type: ignore[dict-item]

    async def get(self, name: str, path: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[name])
        writer.write(f"GET /status/204?{path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        await reader.read()
        writer.close()

    async def heard(self, recording: RecordListener) -> list[tuple[str, str]]:
        records = await self.hosts.recordings.records(recording)
        assert [record["time"] for record in records] == sorted(record["time"] for record in records)
        return [(record["server"], record["path"].partition("?")[2]) for record in records]


@pytest.fixture
async def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr(sockets, "open_listeners", open_listeners)
    for limit in ("_RECORD_ANSWER", "_RECORDS_ANSWER"):
        monkeypatch.setattr(recordings, limit, 20)  # who is only kept waiting by the machine doesn't hang
    monkeypatch.setattr(pulse, "PATIENCE", 600)  # who is stopped here, is so for other reasons
    lab = Lab(tmp_path)
    await lab.apply("a", "b")
    yield lab
    await lab.apply()
    for process in lab.processes.started:
        await process.wait()
    await asyncio.gather(*lab.hosts._tasks)


async def test_records_of_all_servers_in_the_order_of_time(lab: Lab) -> None:
    await lab.get("a", "before")
    before = time.time_ns()
    recording = await lab.hosts.recordings.record()
    begun = time.time_ns()
    for name, path in (("a", "1"), ("b", "2"), ("a", "3")):
        await lab.get(name, path)
    assert await lab.heard(recording) == [("a", "1"), ("b", "2"), ("a", "3")]
    assert recording.lost == {"a": 0, "b": 0} and recording.silent == set()
    assert all(before <= recording.began[name] <= begun for name in "ab")
    await lab.hosts.recordings.stop_recording(recording)
    await lab.get("a", "after")
    assert await lab.heard(recording) == []
    await lab.hosts.recordings.stop_recording(recording)  # once more does no harm
    assert lab.told == []


async def test_recordings_overlap(lab: Lab) -> None:
    first = await lab.hosts.recordings.record(["a"])
    await lab.get("a", "1")
    second = await lab.hosts.recordings.record(["a", "b", "nobody"])
    await lab.get("b", "2")
    await lab.get("a", "3")
    assert await lab.heard(first) == [("a", "1"), ("a", "3")]
    await lab.hosts.recordings.stop_recording(first)
    await lab.get("a", "4")
    assert await lab.heard(second) == [("b", "2"), ("a", "3"), ("a", "4")]
    await lab.hosts.recordings.stop_recording(second)


async def test_more_than_a_datagram(lab: Lab) -> None:
    recording = await lab.hosts.recordings.record()
    for number in range(60):
        await lab.get("a", f"{number}&{'x' * 3000}")
    assert [path.partition("&")[0] for _, path in await lab.heard(recording)] == [str(n) for n in range(60)]
    await lab.hosts.recordings.stop_recording(recording)


async def test_a_server_that_was_restarted_goes_on_recording(lab: Lab) -> None:
    recording = await lab.hosts.recordings.record()
    await lab.get("a", "1")
    await lab.get("b", "2")
    lab.processes.started[0].signal(signal.SIGKILL)
    await until(lambda: lab.hosts.restarts.get("a") == 1 and lab.hosts.running("a"))
    await lab.get("a", "3")
    assert await lab.heard(recording) == [("b", "2"), ("a", "3")]
    await lab.hosts.recordings.stop_recording(recording)


async def test_servers_that_come_and_go_meanwhile(lab: Lab) -> None:
    recording, named = await lab.hosts.recordings.record(), await lab.hosts.recordings.record(["c"])
    await lab.get("a", "1")
    await lab.apply("b", "c")
    await lab.get("c", "2")
    assert await lab.heard(recording) == [("c", "2")] == await lab.heard(named)
    await lab.hosts.recordings.stop_recording(recording)
    await lab.hosts.recordings.stop_recording(named)


@patiently(0.3, 3, 10)
async def test_a_server_that_hangs_holds_nobody_up_and_is_switched_off(
    limit: float, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_RECORD_ANSWER", "_RECORDS_ANSWER"):
        monkeypatch.setattr(recordings, name, limit)
    early = await lab.hosts.recordings.record(["a"])
    await lab.get("a", "1")
    lab.processes.started[0].signal(signal.SIGSTOP)
    late = await lab.hosts.recordings.record()
    await lab.get("b", "2")
    heard = await lab.heard(late)
    assert late.silent == {"a"} and not early.silent, "who has more to tell is known"
    await lab.hosts.recordings.stop_recording(early)
    await lab.hosts.recordings.stop_recording(late)
    lab.processes.started[0].signal(signal.SIGCONT)
    await lab.hosts.status("a")  # it has caught up
    if not heard:  # the limit is that of the other server, too
        raise TooLate
    assert heard == [("b", "2")]
    await lab.get("a", "3")
    assert await lab.heard(early) == [] == await lab.heard(late)


async def test_whoever_is_cancelled_has_stopped_recording(lab: Lab) -> None:
    lab.processes.started[0].signal(signal.SIGSTOP)
    beginning = asyncio.ensure_future(lab.hosts.recordings.record())
    await asyncio.sleep(0.05)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    lab.processes.started[0].signal(signal.SIGCONT)
    recording = await lab.hosts.recordings.record()
    await lab.get("a", "1")
    lab.processes.started[0].signal(signal.SIGSTOP)
    ending = asyncio.ensure_future(lab.hosts.recordings.stop_recording(recording))
    await asyncio.sleep(0.05)
    ending.cancel()
    lab.processes.started[0].signal(signal.SIGCONT)
    await lab.hosts.status("a")
    assert lab.hosts.recordings._recordings == {}
    assert await lab.heard(recording) == []


async def test_many_recordings_leave_nothing_behind(lab: Lab) -> None:
    gc.collect()  # what others left is not to be closed in between
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        recording = await lab.hosts.recordings.record()
        await lab.get("a", "x")
        assert await lab.heard(recording) == [("a", "x")]
        await lab.hosts.recordings.stop_recording(recording)
    assert len(os.listdir("/proc/self/fd")) == before
    assert lab.hosts.recordings._recordings == {} and all(not h._answers for h in lab.hosts._hosts.values())


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "TICK", 0.05)
    monkeypatch.setattr(pulse, "PATIENCE", 0.5)


def errors(lab: Lab, name: str) -> list[str]:
    return [record["error"] for server, record in lab.told if server == name and record["event"] == "error"]


async def say(lab: Lab, word: bytes) -> bytes:
    """What the faulty server answers; empty when it ends, or closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.ports["faulty"])
    writer.write(word)
    try:
        return await soon(reader.read(100))
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_stopped_server_is_killed_and_started_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.get("a", "before")
    lab.processes.started[0].signal(signal.SIGSTOP)
    impatient(monkeypatch)
    await until(lambda: lab.hosts.restarts.get("a") == 1 and lab.hosts.running("a"))
    await lab.get("a", "after")
    assert lab.hosts.exits == {"a": -signal.SIGKILL} and errors(lab, "a") == [
        "doesn't answer any more, so it is killed"
    ]
    assert lab.hosts.running("b") and "b" not in lab.hosts.restarts


async def test_a_stopped_worker_is_killed_and_started_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = PlannedServer("crew", "l4", "", {"listen": [], "frontends": {}}, {}, workers=2)
    handles: Any = {"here": SimpleNamespace(fd=-1)}
    await lab.hosts.apply({**lab.wanted("a", "b"), "crew": crew}, handles)
    leader = lab.hosts._hosts["crew"]
    (worker,) = leader.workers
    worker.signal(signal.SIGSTOP)
    impatient(monkeypatch)
    await until(lambda: not worker.running)
    await until(lambda: len(leader.workers) == 1 and leader.workers[0].running)
    assert leader.process.running and leader.workers[0] is not worker
    assert errors(lab, "crew") == ["worker 1 doesn't answer any more, so it is killed"]


async def test_a_server_in_an_endless_loop_is_killed_and_started_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.apply("a", "faulty")
    impatient(monkeypatch)
    assert await say(lab, b"loop") == b""
    await until(lambda: lab.hosts.restarts.get("faulty") == 1 and lab.hosts.running("faulty"))
    assert await say(lab, b"hello") == b"hello"


async def test_a_server_without_memory_ends_with_a_word_and_is_started_again(lab: Lab) -> None:
    await lab.apply("faulty")
    assert await say(lab, b"memory") == b""
    await until(lambda: lab.hosts.restarts.get("faulty") == 1 and lab.hosts.running("faulty"))
    assert errors(lab, "faulty") == ["can't go on: MemoryError()"] and lab.hosts.exits == {"faulty": 70}
    assert await say(lab, b"hello") == b"hello"


async def test_a_server_that_can_not_accept_ends_with_a_word_and_is_started_again(lab: Lab) -> None:
    await lab.apply("faulty")
    assert await say(lab, b"accept") == b"accept"
    assert await say(lab, b"hello") == b""
    await until(lambda: lab.hosts.restarts.get("faulty") == 1 and lab.hosts.running("faulty"))
    assert errors(lab, "faulty") == ["can't go on: ValueError('no protocol could be made')"]
    assert await say(lab, b"hello") == b"hello"


async def test_a_fault_in_one_connection_ends_that_one_alone(lab: Lab) -> None:
    await lab.apply("faulty")
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.ports["faulty"])
    assert await say(lab, b"fault") == b""
    writer.write(b"hello")
    assert await soon(reader.read(100)) == b"hello" and "faulty" not in lab.hosts.restarts
    writer.close()


async def test_memory_that_runs_out_ends_the_server_that_used_it(lab: Lab) -> None:
    """Whatever it is that gets none: nobody says here where."""
    resource.prlimit(lab.processes.started[0].host_pid, resource.RLIMIT_DATA, (1, 1))
    writers = []
    while "a" not in lab.hosts.restarts:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", lab.ports["a"])
            writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n" + b"x" * 800_000)
            writers.append(writer)
        await asyncio.sleep(0.01)
        assert len(writers) < 5000
    for writer in writers:
        writer.transport.abort()
    await until(lambda: lab.hosts.running("a"))
    await lab.get("a", "after")
    assert lab.hosts.running("b") and "b" not in lab.hosts.restarts


async def test_a_server_may_have_so_much_memory(lab: Lab) -> None:
    bound, _ = resource.prlimit(lab.processes.started[0].host_pid, resource.RLIMIT_DATA)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert bound == max(memory // 4, 512 << 20)


async def test_what_changes_while_a_server_begins_again_is_not_undone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(config: Any) -> bytes:
        loop.call_soon_threadsafe(begins.set)
        goes_on.wait(20)
        return told_bytes(config)

    monkeypatch.setattr(serverhosts, "told_bytes", slow)
    process = lab.hosts.process("a")
    assert process is not None
    process.signal(signal.SIGKILL)
    await begins.wait()
    wanted = lab.wanted("a", "b")
    handles: Any = {"here": SimpleNamespace(fd=-1)}
    changed = asyncio.ensure_future(lab.hosts.apply(wanted, handles))
    await asyncio.wait([changed], timeout=0.2)
    goes_on.set()
    await changed
    await until(lambda: lab.hosts.running("a"))
    await asyncio.wait(lab.hosts._tasks, timeout=0.2)
    assert lab.hosts._applied("a") is wanted["a"]


async def test_a_server_that_ends_in_good_order_is_told_nothing_more(lab: Lab) -> None:
    """It answers for a while, and takes nobody new then; for another pod of its name there is another server."""
    handle = SimpleNamespace(fd=-1)
    wanted = {n: replace(s, namespace="pod") for n, s in lab.wanted("c").items()}
    await lab.hosts.apply(wanted, {"here": handle, "pod": handle})  # type: ignore[dict-item]
    (first,) = lab.processes.started[2:]
    ending = asyncio.ensure_future(lab.hosts.drain("c", 0.2, 5.0))
    await asyncio.sleep(0)
    await lab.get("c", "still")
    await soon(ending)
    with pytest.raises(ConnectionRefusedError):
        await lab.get("c", "too late")
    changed = {n: replace(s) for n, s in wanted.items()}
    await lab.hosts.apply(changed, {"here": handle, "pod": handle})  # type: ignore[dict-item]
    with pytest.raises(ConnectionRefusedError):
        await lab.get("c", "too late")
    assert first.running and lab.processes.started[2:] == [first]
    another = SimpleNamespace(fd=-1)
    await lab.hosts.apply(changed, {"here": handle, "pod": another})  # type: ignore[dict-item]
    await lab.get("c", "to the next")
    assert not lab.processes.started[2].running or await soon(first.wait()) is not None
    assert len(lab.processes.started) == 4


async def test_another_one_takes_away_what_a_server_left_that_ended_while_it_was_asked_to(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a BIRD that was killed leaves its routes, and its server has not noticed yet."""
    monkeypatch.setattr(serverhosts, "LEAVING_FIRST", frozenset({"echo"}))
    process, begun = lab.processes.started[0], len(lab.processes.started)
    process.signal(signal.SIGSTOP)
    handles: Any = {"here": SimpleNamespace(fd=-1)}
    leaving = asyncio.create_task(lab.hosts.prepare(lab.wanted("b"), handles, {""}))
    await asyncio.sleep(0.1)
    assert not leaving.done()
    process.signal(signal.SIGKILL)
    await leaving
    assert len(lab.processes.started) == begun + 1
    await until(lambda: not lab.processes.started[-1].running)
    await lab.apply("b")


async def test_a_server_that_fails_ends_and_is_tried_again_by_and_by(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a program that doesn't start with what it is told: neither a plan's fault, nor tried with every plan."""
    monkeypatch.setattr(pauses, "_PUT_OFF", (0.0, 4.0))

    async def apply(fails: bool) -> None:
        config: dict[str, Any] = {"begins": False, "refused": "line 1: bad"} if fails else {}
        server = PlannedServer("dns", "dns", "", {"listen": [], **config}, {}, fails=fails)  # type: ignore[arg-type]
        await lab.hosts.apply({**lab.wanted("a", "b"), "dns": server}, {"here": SimpleNamespace(fd=-1)})  # type: ignore[dict-item]

    async def begun(times: int) -> None:
        await until(lambda: lab.hosts.restarts.get("dns") == times)

    await apply(True)
    await begun(2)  # the second time at once, the third after a while
    assert not lab.hosts.running("dns") and lab.hosts.exits["dns"] == 1
    assert lab.hosts.put_off("dns") == 4.0 and lab.hosts.put_off("a") == 0.0
    for _ in range(3):
        await apply(True)
    assert lab.hosts.restarts["dns"] == 2
    await apply(False)
    assert lab.hosts.running("dns") and lab.hosts.put_off("dns") == 0.0


async def test_one_alone_begins_a_server_again_however_often_it_has_failed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited to begin it when it was mended, or taken away, doesn't go on when it fails once more."""
    monkeypatch.setattr(pauses, "_PUT_OFF", (0.0, 0.3))

    async def apply(fails: bool | None) -> None:
        config: dict[str, Any] = {"begins": False, "refused": "line 1: bad"} if fails else {}
        server = PlannedServer("dns", "dns", "", {"listen": [], **config}, {}, fails=bool(fails))  # type: ignore[arg-type]
        wanted = {} if fails is None else {"dns": server}
        await lab.hosts.apply({**lab.wanted("a", "b"), **wanted}, {"here": SimpleNamespace(fd=-1)})  # type: ignore[dict-item]

    for between in (False, None, False):
        before = lab.hosts.restarts.get("dns", 0)
        await apply(True)
        await until(lambda: lab.hosts.restarts.get("dns", 0) >= before + 2)  # noqa: B023
        await apply(between)
        if between is None:
            assert "dns" not in lab.hosts.restarts
    await apply(True)
    await until(lambda: len(lab.hosts._tasks) == 3)  # one for each server, and none is left over


async def test_a_lock_lives_as_long_as_somebody_has_it(lab: Lab) -> None:
    """One who brings a server up goes on with it while a plan ends that server, and the next one brings it up anew."""
    locks = lab.hosts._locks
    lock = locks.setdefault("a", asyncio.Lock())
    async with lock:
        await lab.apply("b")
        assert locks["a"] is lock
        again = asyncio.ensure_future(lab.apply("a", "b"))
        await asyncio.sleep(0)
        assert not lab.hosts.running("a")
    await again
    assert lab.hosts.running("a")
    del lock
    assert "a" not in locks


async def test_a_server_waits_for_the_address_of_one_that_has_been_killed(lab: Lab) -> None:
    await lab.apply("a")
    await lab.apply()
    await until(lambda: not (lab.hosts._ending or lab.processes.started[0].running))
    with socket.create_server(("127.0.0.1", lab.ports["a"])) as still:
        lab.hosts._ending.add(lab.processes.started[0])  # as if it weren't gone yet
        asyncio.get_running_loop().call_later(0.05, still.close)
        await lab.apply("a")
    await lab.get("a", "there")


async def test_a_leader_is_told_one_thing_after_the_other() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    host = Hosted("s", Process(1, 1), ours, lambda server, record: None)

    async def told() -> int:
        command = json.loads(await loop.sock_recv(theirs, 1 << 16))
        assert command["op"] == "configure" and host.configuring
        return int(command["id"])

    async def answer(number: int) -> None:
        await loop.sock_sendall(theirs, json.dumps({"id": number, "result": None}).encode())

    server = PlannedServer("s", "echo", "", {"listen": []}, {})  # type: ignore[arg-type]
    first = asyncio.ensure_future(host.configure(server, b"{}", {}))
    number = await told()
    again = asyncio.ensure_future(host.repeat())  # for a worker that has begun again
    await asyncio.sleep(0)
    assert host.applied is None
    await answer(number)
    await first
    await answer(await told())
    await again
    assert host.applied is server and not host.configuring
    host.close()
    theirs.close()


async def test_a_server_that_was_stopped_stays_so_until_it_is_resumed(lab: Lab) -> None:
    await lab.hosts.stop("a", 5.0)
    await until(lambda: lab.hosts.restarts.get("a") == 1)
    await lab.apply("a", "b")
    assert not lab.hosts.running("a")
    with pytest.raises(ConnectionRefusedError):
        await lab.get("a", "")
    await lab.hosts.resume("a")
    await lab.get("a", "")
    await lab.hosts.resume("a")  # nothing is left to be done
    await lab.hosts.stop("a", 5.0)
    await lab.apply("b")  # its pod has gone meanwhile
    assert lab.hosts.restarts.get("a") is None
    await lab.apply("a", "b")
    await lab.get("a", "")


async def test_a_server_serves_again_though_who_stopped_it_has_gone(lab: Lab) -> None:
    """As whoever asks for its life does once its container is to be another one."""
    first = lab.hosts.process("a")
    assert first is not None

    def refuses() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", lab.ports["a"])).close()
            return False
        return True

    _, writer = await asyncio.open_connection("127.0.0.1", lab.ports["a"])
    writer.write(b"GET /delay/3600 HTTP/1.1\r\nHost: h\r\n\r\n")  # for whose end it waits
    while not (await lab.hosts.status("a"))["requests"]:
        await asyncio.sleep(0.01)
    stopping = asyncio.ensure_future(lab.hosts.stop("a", 600.0))
    await until(refuses)
    stopping.cancel()
    await asyncio.wait([stopping])
    await soon(first.wait())
    await lab.hosts.resume("a")
    await until(lambda: lab.hosts.running("a"))
    await lab.get("a", "")
    writer.close()


async def test_a_server_is_begun_though_who_resumes_it_has_gone(lab: Lab) -> None:
    await lab.hosts.stop("a", 5.0)
    await until(lambda: lab.hosts.restarts.get("a") == 1)
    resuming = asyncio.ensure_future(lab.hosts.resume("a"))
    await asyncio.sleep(0)
    resuming.cancel()
    await until(lambda: lab.hosts.running("a"))
    await lab.get("a", "")


async def test_who_comes_in_a_servers_place_gets_the_orders_that_are_kept_first(lab: Lab) -> None:
    """As a stand-in's process that ends while a container is in a back-off."""
    key, config = f"tcp/127.0.0.1/{lab.ports['a']}", {"identities": {"127.0.0.1": {"pod": "p"}}}
    told = {"listen": [key], "logs": {key: "n_p_c"}, **config}
    wanted = {n: replace(s, config=told) if n == "a" else s for n, s in lab.wanted("a", "b").items()}
    await lab.hosts.apply(wanted, {"here": SimpleNamespace(fd=-1)})  # type: ignore[dict-item]
    lab.hosts.keep_order("a", "n_p_c", {"pod": ("", "p"), "log": "n_p_c", "lives": False})
    await lab.get("a", "")  # it is told to whoever comes later
    for restarts, kept in ((1, True), (2, False)):
        if not kept:
            lab.hosts.keep_order("a", "n_p_c", None)
        process = lab.hosts.process("a")
        assert process is not None
        process.signal(signal.SIGKILL)
        await until(lambda n=restarts: lab.hosts.restarts.get("a") == n and lab.hosts.running("a"))  # type: ignore[misc]
        with pytest.raises(ConnectionRefusedError) if kept else contextlib.nullcontext():
            await lab.get("a", "")


async def test_an_order_that_is_taken_back_while_others_are_given_is_not_given(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a container that lives anew while the stand-ins' process begins."""
    key, config = f"tcp/127.0.0.1/{lab.ports['a']}", {"identities": {"127.0.0.1": {"pod": "p"}}}
    told = {"listen": [key], "logs": {key: "n_p_c"}, **config}
    wanted = {n: replace(s, config=told) if n == "a" else s for n, s in lab.wanted("a", "b").items()}
    await lab.hosts.apply(wanted, {"here": SimpleNamespace(fd=-1)})  # type: ignore[dict-item]
    for log in ("n_q_c", "n_p_c"):
        lab.hosts.keep_order("a", log, {"pod": ("", "p"), "log": log, "lives": False})
    ask, given = RemoteServer.ask, list[str]()

    async def meanwhile(self: RemoteServer, op: str, *args: Any, **more: Any) -> Any:
        if op == "order":
            given.append(more["order"]["log"])
            lab.hosts.keep_order("a", "n_p_c", None)
        return await ask(self, op, *args, **more)

    monkeypatch.setattr(RemoteServer, "ask", meanwhile)
    process = lab.hosts.process("a")
    assert process is not None
    process.signal(signal.SIGKILL)
    await until(lambda: lab.hosts.restarts.get("a") == 1 and lab.hosts.running("a"))
    await lab.get("a", "")
    assert given == ["n_q_c"]


async def test_who_is_wanted_under_the_name_of_a_pod_that_has_gone_is_another_one(lab: Lab) -> None:
    """A StatefulSet's at a node's address, whose namespace is the same before and after."""
    handles: Any = {"here": SimpleNamespace(fd=-1)}
    wanted = {n: replace(s, namespace="here") for n, s in lab.wanted("a", "b").items()}
    await lab.hosts.apply(wanted, handles)
    await lab.hosts.drain("a", 0.0, 5.0)
    await lab.hosts.apply(wanted, handles)
    with pytest.raises(ConnectionRefusedError):
        await lab.get("a", "")
    lab.hosts.let_go("a")
    lab.hosts.let_go("b")  # which serves on
    await lab.hosts.apply(wanted, handles)
    await lab.get("a", "")
    assert len(lab.processes.started) == 3
