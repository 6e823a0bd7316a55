"""BIRD's control socket, as birdc talks to it (doc/reply_codes of BIRD): a line asks, coded lines answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from emulab.errors import UserError
from emulab.servers.bgp.config import BgpPeer

_PATIENCE = 10.0  # seconds
_FIRST, _FOR_EACH, _MOST = 5.0, 0.05, 45.0
"""Seconds for sessions that are new, for each route that they have to tell, and at most: whoever has the server
configured waits a minute for its answer. Whoever doesn't answer by then, a node that is lost say, is waited for no
more."""
_LAST = re.compile(r"(\d{4}) (.*)")
"""Of an answer; lines before it have `-` behind the code, or begin with a space."""
_MIDDLE = re.compile(r"(?:\d{4}-| )")
_BGP = re.compile(r"(\S+)\s+BGP\s+\S+\s+\S+\s+\S+\s+(\S*)")
_ADDRESS = re.compile(r"\s*Neighbor address:\s+(\S+)")
_ROUTES = re.compile(r"\s*Routes:\s+(\d+) imported")
_ESTABLISHED = "Established"
_FAILED = "89"  # what the codes of failures begin with


class BgpSession(NamedTuple):
    """What BIRD says of one session."""

    state: str  # Established, Active, Connect, …; "" before the first
    routes: int  # that it was told
    address: str = ""  # of who is at the other end


class Missing(NamedTuple):
    """Peers that there is no session with, and how many routes others have told of those that they have to."""

    down: tuple[BgpPeer, ...]
    short: tuple[tuple[BgpPeer, int], ...]

    def __str__(self) -> str:
        without = ", ".join(f"{peer.address} ({peer.name})" for peer in self.down)
        few = [f"{n} of {p.least} routes from {p.address} ({p.name})" for p, n in self.short]
        return "; ".join([*([f"no session with {without}"] if without else []), *few])


def patience(new: Iterable[BgpPeer]) -> float:
    """How many seconds sessions that are new have until they are up and have told what they have to. Pure."""
    return min(_FIRST + _FOR_EACH * sum(peer.least for peer in new), _MOST)


class StandingSessions:
    """The sessions that are up, by the address at the other end, and which were. Pure, but for what it remembers."""

    def __init__(self) -> None:
        self._up: set[str] = set()
        self._over: set[str] = set()
        self._expected: Collection[str] | None = ()

    def expect(self, there: Mapping[str, BgpSession], addresses: Collection[str] | None) -> None:
        """Only sessions with these addresses count from now on; None: whoever calls."""
        self._expected = addresses
        self._up = {a for a in self._up | _established(there) if addresses is None or a in addresses}
        self._over = {a for a in self._over if addresses is None or a in addresses}

    def changes(self, there: Mapping[str, BgpSession]) -> list[tuple[str, bool]]:
        """The addresses whose sessions are over, or up again, since this was asked last."""
        up = {a for a in _established(there) if self._expected is None or a in self._expected}
        over, again = self._up - up, self._over & up
        self._up, self._over = up, (self._over - up) | over
        return [*((a, False) for a in sorted(over)), *((a, True) for a in sorted(again))]


def _established(there: Mapping[str, BgpSession]) -> set[str]:
    return {one.address for one in there.values() if one.state == _ESTABLISHED}


def missing(peers: Iterable[BgpPeer], there: Mapping[str, BgpSession]) -> Missing:
    """What peers are still waited for. Pure."""
    found = [(peer, there.get(peer.name, BgpSession("", 0))) for peer in peers]
    down = tuple(peer for peer, one in found if one.state != _ESTABLISHED)
    short = ((peer, one.routes) for peer, one in found if one.state == _ESTABLISHED)
    return Missing(down, tuple((peer, routes) for peer, routes in short if routes < peer.least))


async def told(path: str, command: str) -> str:
    """The answer to a command, without its codes. Raises UserError with what BIRD has against it."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                await _answer(reader)  # which greets
                writer.write(f"{command}\n".encode())
                code, text = await _answer(reader)
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:  # TimeoutError is one of the former
        raise UserError(f"bird does not answer at its control socket: {error}") from None
    if code[0] in _FAILED:
        raise UserError(text)
    return text


async def _answer(reader: asyncio.StreamReader) -> tuple[str, str]:
    """The code of the last line, and all lines."""
    lines: list[str] = []
    while True:
        line = (await reader.readuntil()).decode(errors="replace").rstrip("\n")
        if last := _LAST.fullmatch(line):
            return last[1], "\n".join([*lines, last[2]] if last[2] else lines)
        lines.append(_MIDDLE.sub("", line, count=1))


def sessions(text: str) -> dict[str, BgpSession]:
    """The sessions in what `show protocols all` says. Pure."""
    return dict(_sessions(text))


def _sessions(text: str) -> Iterator[tuple[str, BgpSession]]:
    name, state, routes, address = "", "", 0, ""
    for line in text.splitlines():
        if line and not line[0].isspace():
            if name:
                yield name, BgpSession(state, routes, address)
            found, address = _BGP.match(line), ""
            name, state, routes = (found[1], found[2], 0) if found else ("", "", 0)
        elif at := _ADDRESS.match(line):
            address = at[1]
        elif counted := _ROUTES.match(line):
            routes = int(counted[1])
    if name:
        yield name, BgpSession(state, routes, address)
