"""The process of the logs, for real: what is printed gets through, whatever happens to that process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from patience import soon, until
from server_processes import Processes

from emulab.lab.hosts import logs as lab_logs
from emulab.lab.hosts import pulse
from emulab.lab.hosts.logs import Log, Logs, Stream
from emulab.servers.logs.marks import marks_name, read_marks


class Running:
    def __init__(self, folder: Path) -> None:
        self.processes = Processes()
        self.logs = Logs(self.processes, folder)  # type: ignore[arg-type]
        self._task = asyncio.ensure_future(self.logs.run())

    def of(self, name: str) -> tuple[Log, Stream, int]:
        log = self.logs.of(name)
        return (log, *log.open())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        for process in self.processes.started:
            process.signal(signal.SIGKILL)
            await process.wait()


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(lab_logs, "_RESTART", 0.01)
    made = Running(tmp_path)
    yield made
    await made.close()


async def test_what_was_printed_before_the_end_is_in_the_log(running: Running) -> None:
    log, stream, end = running.of("a")
    os.write(end, b"x" * 60_000 + b"\n")
    os.close(end)
    await soon(stream.drained())
    assert log.path.read_bytes() == b"x" * 60_000 + b"\n" and stream.ended.is_set()


async def test_lives_of_one_container_and_words_of_ours_follow_each_other(running: Running) -> None:
    for text in (b"first life\n", b"second life\n"):
        log, stream, end = running.of("a")
        os.write(end, text)
        os.close(end)
        await soon(stream.drained())
    log.write("could not be started")
    await until(lambda: log.path.read_text() == "first life\nsecond life\ncould not be started\n")


async def test_nothing_is_lost_when_the_process_is_killed(running: Running) -> None:
    """Its end is noticed, its pipes go to the next one, and whoever prints never sees a closed pipe."""
    log, stream, end = running.of("a")
    os.set_blocking(end, False)
    text, at, kills = b"".join(b"%07d\n" % n for n in range(500_000)), 0, 0
    while at < len(text):
        try:
            at += os.write(end, text[at : at + 30_000])
        except BlockingIOError:
            await asyncio.sleep(0)
        if at > kills * 500_000 and running.processes.started and running.processes.started[-1].running:
            running.processes.started[-1].signal(signal.SIGKILL)
            kills += 1
    os.close(end)
    await soon(stream.ended.wait())
    assert len(running.processes.started) >= 5 and log.path.read_bytes() == text


async def test_a_process_that_hangs_is_killed_and_the_next_one_goes_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "TICK", 0.05)
    monkeypatch.setattr(pulse, "PATIENCE", 0.5)
    log, stream, end = running.of("a")
    os.write(end, b"one\n")
    await until(lambda: log.path.exists() and log.path.read_text() == "one\n")
    running.processes.started[0].signal(signal.SIGSTOP)
    os.write(end, b"two\n")
    os.close(end)
    await soon(stream.ended.wait())
    assert log.path.read_text() == "one\ntwo\n" and len(running.processes.started) == 2


async def test_a_removed_log_is_gone_and_stays_so(running: Running) -> None:
    log, _, end = running.of("a")
    os.write(end, b"one\n")
    await until(log.path.exists)
    log.remove()
    await until(lambda: not log.path.exists())
    os.write(end, b"two\n")
    again, _, fresh = running.of("a")
    os.write(fresh, b"of another one\n")
    await until(lambda: again.path.exists() and again.path.read_text() == "of another one\n")
    os.close(fresh)
    os.close(end)


async def test_whoever_prints_without_end_waits_for_the_disk_and_is_bounded(running: Running) -> None:
    log, stream, end = running.of("a")
    chunk = b"".join(b"%09d\n" % n for n in range(6000))
    writing = asyncio.to_thread(lambda: [os.write(end, chunk) for _ in range(1500)])  # 90 MB
    await soon(writing)
    os.close(end)
    await soon(stream.ended.wait())
    files = {path.name: path.stat().st_size for path in log.path.parent.iterdir()}
    beside = [files.pop(marks_name(name)) for name in [*files] if not name.startswith(".")]
    assert sum(beside) < 1 << 20
    sizes = list(files.values())
    assert len(sizes) == 5 and max(sizes) <= 10 << 20 and sum(sizes) > 40 << 20


async def test_names_that_are_too_long_for_a_file_are_shortened_and_stay_apart(running: Running) -> None:
    paths = set()
    for pod in ("p" * 252 + "a", "p" * 252 + "b"):
        log, stream, end = running.of(f"{'n' * 63}.{pod}.{'c' * 63}")
        os.write(end, pod.encode())
        os.close(end)
        await soon(stream.drained())
        assert log.path.read_text() == pod
        paths.add(log.path)
    assert len(paths) == 2


def test_the_supervisor_begins_a_new_file_for_what_it_prints_itself(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.log"
    if (pid := os.fork()) == 0:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for own in (1, 2):
            os.dup2(fd, own)
        for number in range(8):
            os.write(1 + number % 2, b"%d\n" % number)
            lab_logs._rotate_own(path)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    kept = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert kept == {"supervisor.log": "", **{f"supervisor.log.{n}": f"{8 - n}\n" for n in range(1, 5)}}


async def test_lines_of_the_life_before_stand_before_the_next(running: Running) -> None:
    """However late the process of the logs comes to the pipe that many share."""
    log = running.logs.of("a")
    _, end = running.logs.open("")
    name = log.name.encode()

    def lives() -> list[int]:
        return [mark.offset for mark in read_marks(log.path) if mark.begins]

    await soon(until(lambda: bool(running.processes.started)))
    for round in range(10):
        running.processes.started[0].signal(signal.SIGSTOP)
        os.write(end, b"".join(b"\x1e%s\x1fline %d of %d\n" % (name, n, round) for n in range(200)))
        log.begin_again()
        running.processes.started[0].signal(signal.SIGCONT)
        await soon(until(lambda n=round: len(lives()) == n + 2))  # type: ignore[misc]
    os.close(end)
    text = log.path.read_bytes()
    found = [text[at:to] for at, to in pairwise([*lives(), len(text)])]
    assert [life.splitlines()[-1:] for life in found] == [*([b"line 199 of %d" % n] for n in range(10)), []]
