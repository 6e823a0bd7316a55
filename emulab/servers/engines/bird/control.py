"""BIRD's control socket, as birdc talks to it (doc/reply_codes of BIRD): a line asks, coded lines answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from emulab.errors import UserError
from emulab.servers.bgp.config import BgpPeer

_PATIENCE = 10.0  # seconds
_LAST = re.compile(r"(\d{4}) (.*)")
"""Of an answer; lines before it have `-` behind the code, or begin with a space."""
_MIDDLE = re.compile(r"(?:\d{4}-| )")
_BGP = re.compile(r"(\S+)\s+BGP\s+\S+\s+\S+\s+\S+\s+(\S*)")
_ROUTES = re.compile(r"\s*Routes:\s+(\d+) imported")
_ESTABLISHED = "Established"
_FAILED = "89"  # what the codes of failures begin with


class BgpSession(NamedTuple):
    """What BIRD says of one session."""

    state: str  # Established, Active, Connect, …; "" before the first
    routes: int  # that it was told


class Missing(NamedTuple):
    """Peers that there is no session with, and how many routes others have told of those that they have to."""

    down: tuple[BgpPeer, ...]
    short: tuple[tuple[BgpPeer, int], ...]

    def __str__(self) -> str:
        without = ", ".join(f"{peer.address} ({peer.name})" for peer in self.down)
        few = [f"{n} of {p.least} routes from {p.address} ({p.name})" for p, n in self.short]
        return "; ".join([*([f"no session with {without}"] if without else []), *few])


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
    name, state, routes = "", "", 0
    for line in text.splitlines():
        if line and not line[0].isspace():
            if name:
                yield name, BgpSession(state, routes)
            found = _BGP.match(line)
            name, state, routes = (found[1], found[2], 0) if found else ("", "", 0)
        elif counted := _ROUTES.match(line):
            routes = int(counted[1])
    if name:
        yield name, BgpSession(state, routes)
