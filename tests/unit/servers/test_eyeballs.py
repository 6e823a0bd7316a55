"""Happy eyeballs: which family has its turn when, and that nothing stays open but what is taken."""

from __future__ import annotations

import asyncio
import socket

import pytest

from emulab.servers import eyeballs
from emulab.servers.eyeballs import connected

SIX, OTHER_SIX, FOUR = "fd00::1", "fd00::2", "10.0.0.1"
NEVER = 60.0


class Host:
    """What becomes of a connection to each address: seconds until then, and whether it succeeds."""

    def __init__(self, **outcomes: tuple[float, bool]) -> None:
        self._outcomes = {
            SIX: outcomes.get("six"),
            OTHER_SIX: outcomes.get("other"),
            FOUR: outcomes.get("four"),
        }
        self.tried: list[str] = []
        self.ended: list[str] = []
        self.sockets: dict[str, socket.socket] = {}

    async def connect(self, address: str) -> socket.socket:
        self.tried.append(address)
        outcome = self._outcomes[address]
        assert outcome is not None
        try:
            await asyncio.sleep(outcome[0])
        finally:
            self.ended.append(address)
        if not outcome[1]:
            raise ConnectionRefusedError(111, address)
        self.sockets[address] = socket.socket()
        return self.sockets[address]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eyeballs, "HEAD_START", 0.02)


@pytest.mark.parametrize(
    ("outcomes", "addresses", "taken", "tried"),
    [
        ({"six": (0, True)}, [SIX, FOUR], SIX, [SIX]),
        ({"six": (0, False), "four": (0, True)}, [SIX, FOUR], FOUR, [SIX, FOUR]),
        ({"six": (NEVER, True), "four": (0, True)}, [SIX, FOUR], FOUR, [SIX, FOUR]),
        ({"six": (0.1, True), "four": (NEVER, True)}, [SIX, FOUR], SIX, [SIX, FOUR]),
        ({"six": (0.1, True), "four": (0, False)}, [SIX, FOUR], SIX, [SIX, FOUR]),
        ({"six": (0, False), "other": (0, True)}, [SIX, FOUR, OTHER_SIX], OTHER_SIX, [SIX, OTHER_SIX]),
        ({"four": (0, True)}, [FOUR], FOUR, [FOUR]),
    ],
    ids=["first", "refused", "silent", "slow", "slow, other refuses", "second of a family", "one family"],
)
async def test_who_is_taken(
    outcomes: dict[str, tuple[float, bool]], addresses: list[str], taken: str, tried: list[str]
) -> None:
    host = Host(**outcomes)
    with await connected(addresses, host.connect) as sock:
        assert host.tried == tried and sock is host.sockets[taken]
    await asyncio.sleep(0)
    assert sorted(host.ended) == sorted(tried), "what is not needed any more is given up"


async def test_nobody_connects() -> None:
    host = Host(six=(0.05, False), four=(0, False))
    with pytest.raises(ConnectionRefusedError, match=FOUR):
        await connected([SIX, FOUR], host.connect)
    assert host.tried == [SIX, FOUR]


async def test_two_connect_at_once_and_one_is_closed() -> None:
    host = Host(six=(0.04, True), four=(0.02, True))
    sock = await connected([SIX, FOUR], host.connect)
    await asyncio.sleep(0.05)
    with sock:
        assert [one for one in host.sockets.values() if one.fileno() >= 0] == [sock]


async def test_who_gives_up_leaves_nothing() -> None:
    host = Host(six=(NEVER, True), four=(NEVER, True))
    task = asyncio.ensure_future(connected([SIX, FOUR], host.connect))
    while len(host.tried) < 2:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert sorted(host.ended) == [FOUR, SIX]
