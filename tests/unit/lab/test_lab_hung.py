"""When a silent lab is given up, and that a living one is not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import LONG

from emulab.lab.client import hung
from emulab.lab.client.client import LabClient
from emulab.lab.folders import rundir
from emulab.lab.supervisor import control
from emulab.lab.supervisor.control import ControlServer

BEGUN = "2026-01-01T00:00:00Z"
SLEEPS = "import time\ntime.sleep(1000)"
WORKS = "while True: pass"


@pytest.mark.parametrize(
    ("state", "looks", "idle", "reason"),
    [
        ("S", 1, 0, ""),
        ("T", 4, 4, ""),  # somebody may let it go on
        ("T", 5, 4, "is stopped"),
        ("t", 5, 4, "is stopped"),
        ("S", 9, 9, ""),
        ("S", 11, 10, "hangs"),
        ("D", 11, 10, "hangs"),
        ("", 11, 10, "hangs"),
        ("R", 59, 0, ""),  # a loop that plans
        ("R", 60, 0, "has been busy for 60 s"),
    ],
)
def test_when_silence_is_no_answer(state: str, looks: int, idle: int, reason: str) -> None:
    assert hung.verdict(state, looks, idle) == reason


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a lab."""
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    return rundir.make("shop")


@pytest.fixture(params=[SLEEPS, WORKS])
def process(request: pytest.FixtureRequest, lab: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that `lab.json` calls the supervisor."""
    with subprocess.Popen([sys.executable, "-c", request.param]) as started:
        try:
            rundir.write_info(lab, rundir.LabInfo("shop", started.pid, BEGUN))
            yield started
        finally:
            started.kill()


def looks(silence: hung.LabSilence, pause: float = 0.0) -> tuple[int, str]:
    """How many looks it took until the silence was no answer, and what is said then."""
    for number in range(1, 1000):
        time.sleep(pause)
        try:
            silence.look()
        except hung.NoAnswer as error:
            return number, str(error)
    raise AssertionError("looked for ever")


def test_a_stopped_process_is_named_with_what_mends_it(process: subprocess.Popen[bytes], lab: Path) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    number, text = looks(hung.LabSilence(lab))
    assert number == hung.STOPPED
    assert text == (
        f"lab '{lab.name}' does not answer: its supervisor (pid {process.pid}) is stopped; let it go on with: "
        f"kill -CONT {process.pid}, or end the lab with: emulab -l {lab.name} down"
    )


def test_one_that_works_has_longer_than_one_that_waits(
    process: subprocess.Popen[bytes],
    lab: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    working = request.node.callspec.params["process"] == WORKS
    if working:
        monkeypatch.setattr(hung, "BUSY", 15)  # of 60, between which the processor's clock ticks
    silence = hung.LabSilence(lab)
    number, text = looks(silence, pause=0.15 if working else 0.01)
    assert (number, "has been busy for 15 s" in text) == (15, True) if working else number < 30
    silence.broken()
    silence.look()  # a word, and everything begins anew


def test_one_that_starts_has_longest_and_need_not_be_known(lab: Path) -> None:
    assert hung.verdict("R", hung.STARTING - 1, 0, hung.STARTING) == ""
    number, text = looks(hung.LabSilence(lab, starting=True))
    assert number == hung.STARTING and "has been busy for 300 s" in text


def test_without_a_pid_it_is_said_all_the_same(lab: Path) -> None:
    _, text = looks(hung.LabSilence(lab))
    assert f"lab '{lab.name}' does not answer: its supervisor hangs; end the lab with" in text


@pytest.fixture
def listener(lab: Path) -> Iterator[socket.socket]:
    """A control socket at which nobody answers."""
    rundir.write_info(lab, rundir.LabInfo("shop", os.getpid(), BEGUN))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(lab / "control.sock"))
        sock.listen(0)
        yield sock


def test_neither_connecting_nor_sending_nor_receiving_waits_for_ever(
    listener: socket.socket, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hung, "LOOK", 0.01)
    with LabClient(lab) as client:  # the queue takes one
        with pytest.raises(hung.NoAnswer):
            client.request("get")
        with pytest.raises(hung.NoAnswer):
            client.request("apply", sources=["x" * (8 << 20)])  # more than a socket holds
        with pytest.raises(hung.NoAnswer):
            LabClient(lab)


def test_a_queue_that_empties_is_waited_for(listener: socket.socket, lab: Path) -> None:
    def take() -> None:
        for _ in range(2):
            time.sleep(0.2)
            listener.accept()[0].close()

    thread = threading.Thread(target=take)
    with LabClient(lab):
        thread.start()
        LabClient(lab).close()
    thread.join()


class Slow:
    """Operations that take longer than a beat."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)

        async def operation(arguments: object, progress: object) -> str:
            await asyncio.sleep(1.5)
            return "done"

        return operation

    async def observation(self) -> Slow:
        return self

    async def begin(self, request: object) -> tuple[str, list[int]]:
        await asyncio.sleep(1.5)
        return "begun", [os.open(os.devnull, os.O_RDONLY)]

    async def close(self) -> None:
        pass


async def test_a_lab_that_takes_its_time_says_that_it_is_alive(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked, and more often than a client would need to hear it."""
    monkeypatch.setattr(control, "_BEAT", 0.05)
    monkeypatch.setattr(hung, "LOOK", 0.25)
    monkeypatch.setattr(hung, "IDLE", 3)
    rundir.write_info(lab, rundir.LabInfo("shop", 0, BEGUN))
    told: list[None] = []
    broken = hung.LabSilence.broken
    monkeypatch.setattr(hung.LabSilence, "broken", lambda self: (told.append(None), broken(self))[1])
    task = asyncio.ensure_future(ControlServer(Slow(), lab).run())  # type: ignore[arg-type]
    await asyncio.sleep(0)

    def talk() -> None:
        with LabClient(lab) as client:
            assert client.request("get") == "done"
            assert len(told) > 3
            result, (fd,) = client.request_descriptors("observe")
            os.close(fd)
            assert result == "begun" and len(told) > 6

    async with asyncio.timeout(LONG):
        await asyncio.to_thread(talk)
    task.cancel()
