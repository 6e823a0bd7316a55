"""What a configuration has that is wrong, in the log of the ingress."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable

import pytest

from emulab.servers.journal import MOST, TURN, Journal
from emulab.servers.l7.config import Certificate, Notice
from emulab.servers.l7.shell.notices import Notices


@pytest.fixture
def log() -> tuple[Notices, Callable[[], list[str]]]:
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    journal = Journal(single=True)
    journal.open(writing)

    def lines() -> list[str]:
        journal._turn()
        try:
            return os.read(reading, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []

    return Notices(journal), lines


async def test_each_is_written_once_as_long_as_it_stays(log: tuple[Notices, Callable[[], list[str]]]) -> None:
    notices, lines = log
    notices.post([Notice("one")], [])
    notices.post([Notice("one"), Notice("two")], [])
    written = lines()
    assert [line.partition("] ")[2] for line in written] == ["one", "two"]
    assert all(re.match(r"W\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ controller\.go\] ", line) for line in written)
    notices.post([], [])
    notices.post([Notice("one")], [])
    assert len(lines()) == 1, "it had gone"


async def test_one_is_written_when_its_time_has_come(log: tuple[Notices, Callable[[], list[str]]]) -> None:
    notices, lines = log
    now = time.time()
    given = [Notice("over", until=now - 1), Notice("due", since=now + 0.3), Notice("early", until=now + 50)]
    notices.post(given, [])
    assert [line[-5:] for line in lines()] == ["early"]
    later: list[str] = []
    while not later:
        await asyncio.sleep(TURN / 10)
        later = lines()
    assert [line[-3:] for line in later] == ["due"] and time.time() >= now + 0.3


async def test_a_certificates_is_written_of_each_host_that_shows_it(
    log: tuple[Notices, Callable[[], list[str]]],
) -> None:
    notices, lines = log
    notice = Notice('server "{host}"', secret="ns/s")
    other = Certificate(("x",), "", "", "ns/other")
    notices.post([notice], [Certificate(("a", "b", "_"), "", "", "ns/s"), other])
    assert [line.partition("] ")[2] for line in lines()] == ['server "a"', 'server "b"']
    notices.post([notice], [Certificate(("b", "c"), "", "", "ns/s"), other])
    assert [line.partition("] ")[2] for line in lines()] == ['server "c"']


async def test_more_than_the_log_has_room_for_come_later(
    log: tuple[Notices, Callable[[], list[str]]],
) -> None:
    notices, lines = log
    wanted = [f"number {index}" for index in range(2 * MOST + 5)]
    notices.post(map(Notice, wanted), [])
    found: list[str] = []
    while len(found) < len(wanted):
        await asyncio.sleep(TURN / 10)
        found += [line.partition("] ")[2] for line in lines()]
    assert found == wanted
