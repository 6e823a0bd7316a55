"""The lines that stand-ins write of requests: what goes into the pipe, and where it parts again."""

from __future__ import annotations

import asyncio
import os

import pytest

from emulab.servers import journal as module
from emulab.servers.journal import MOST, Journal
from emulab.servers.logs.keeper import parted


async def written(journal: Journal, reading: int) -> dict[str, list[str]]:
    """The lines of each log after a turn."""
    await asyncio.sleep(0)
    journal._turn()
    try:
        data = os.read(reading, 1 << 20)
    except BlockingIOError:
        data = b""
    return {name: text.decode().splitlines() for name, text in parted(data).items()}


@pytest.fixture
def opened() -> tuple[Journal, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    journal = Journal()
    journal.open(writing)
    return journal, reading


async def test_each_line_finds_its_log(opened: tuple[Journal, int]) -> None:
    journal, reading = opened
    for log, client in (("a.log", "10.244.1.2:40000"), ("b.log", "[fd00::1]:40000")):
        assert journal.takes(log)
        journal.request(log, client, 'GET /"x HTTP/1.1', 200, 12, "curl")
    assert not journal.takes("")
    lines = await written(journal, reading)
    assert list(lines) == ["a.log", "b.log"]
    (line,) = lines["a.log"]
    assert line.startswith("10.244.1.2 - - [") and line.endswith('] "GET /\\x22x HTTP/1.1" 200 12 "-" "curl"')
    assert lines["b.log"][0].startswith("[fd00::1] - - [")


async def test_a_line_that_comes_alone_goes_out_at_once(opened: tuple[Journal, int]) -> None:
    journal, reading = opened
    for number in range(2):
        assert journal.takes("a.log")
        journal.request("a.log", "c:1", f"GET /{number} HTTP/1.1", 200, 0)
        await asyncio.sleep(0)
    assert (
        b"GET /0" in (data := os.read(reading, 1 << 20)) and b"GET /1" not in data
    )  # long before its turn is over
    assert len((await written(journal, reading))["a.log"]) == 1


async def test_what_nobody_could_read_is_counted(opened: tuple[Journal, int]) -> None:
    journal, reading = opened
    for _ in range(MOST + 7):
        if journal.takes("a.log"):
            journal.request("a.log", "c:1", "GET / HTTP/1.1", 200, 0)
    lines = (await written(journal, reading))["a.log"]
    assert len(lines) == MOST + 1 and lines[-1] == "… and 7 more requests"
    assert journal.takes("a.log")


async def test_a_pipe_that_is_full_holds_up_nobody(
    opened: tuple[Journal, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, reading = opened
    monkeypatch.setattr(module, "_PENDING", 1000)
    while True:
        try:
            os.write(journal._pipe, bytes(1 << 16))
        except BlockingIOError:
            break
    for _ in range(MOST):
        assert journal.takes("a.log")
        journal.request("a.log", "c:1", "GET / HTTP/1.1", 200, 0)
    journal._turn()
    assert 0 < len(journal._pending) <= 1000 and journal._pending.endswith(b"\n")
    os.read(reading, 1 << 20)
    assert set(await written(journal, reading)) == {"a.log"}


def test_a_line_whose_beginning_is_lost_is_dropped() -> None:
    assert parted(b"alt.log\x1frest\n\x1ea.log\x1fone\n\x1ea.log\x1ftwo\n") == {"a.log": b"one\ntwo\n"}


async def test_a_line_that_fails_takes_no_other_along(opened: tuple[Journal, int]) -> None:
    journal, reading = opened
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))

    def fails() -> str:
        raise ValueError("a variable")

    for text in ("one", fails, lambda: "three"):
        assert journal.takes("a.log")
        journal.write("a.log", text)
    assert await written(journal, reading) == {"a.log": ["one", "three"]}
    assert told == ["a line of the log could not be put together"]
