"""How a client connects to a host that has addresses of both families (RFC 8305, "happy eyeballs"), as curl does it.

It begins with the family of the address that it prefers. The other one has its turn as soon as nothing is left to try
in the first, or when the first hasn't connected after a moment; whichever connects first is taken.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

HEAD_START = 0.2
"""Seconds that the first family has for itself: curl's --happy-eyeballs-timeout-ms."""

Connecting = Callable[[str], Awaitable[socket.socket]]
"""Connects to an address, and keeps nothing open where that fails."""


async def connected(addresses: Sequence[str], connect: Connecting) -> socket.socket:
    """A connection to one of a host's addresses, which are in the order of preference. Raises the last OSError."""
    first, other = lanes(addresses)
    if not other:
        return await _one_of(first, connect)
    racing = [asyncio.ensure_future(_one_of(first, connect))]
    winner: asyncio.Future[socket.socket] | None = None
    try:
        await asyncio.wait(racing, timeout=HEAD_START)
        if not _has_connected(racing[0]):
            racing.append(asyncio.ensure_future(_one_of(other, connect)))
        while (winner := next(filter(_has_connected, racing), None)) is None:
            pending = [one for one in racing if not one.done()]
            if not pending:
                return racing[-1].result()
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        return winner.result()
    finally:
        for one in racing:
            if one is not winner:
                one.cancel()
                if _has_connected(one):
                    one.result().close()


def lanes(addresses: Sequence[str]) -> tuple[list[str], list[str]]:
    """The addresses of the preferred family, and those of the other one."""
    six = ":" in addresses[0]
    return [a for a in addresses if (":" in a) == six], [a for a in addresses if (":" in a) != six]


def _has_connected(one: asyncio.Future[socket.socket]) -> bool:
    return one.done() and not one.cancelled() and one.exception() is None


async def _one_of(addresses: Sequence[str], connect: Connecting) -> socket.socket:
    for address in addresses[:-1]:
        try:
            return await connect(address)
        except OSError:
            continue
    return await connect(addresses[-1])
