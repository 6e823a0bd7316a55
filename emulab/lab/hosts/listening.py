"""Sockets of servers, opened in the namespaces in which these listen."""

from __future__ import annotations

import asyncio
import errno
import socket

from emulab.errors import KernelError
from emulab.kernel import sockets

LINGERS = 60
"""Tries for whoever takes the place of a real program, which ends a moment later than its server."""
_LINGER = 0.05


async def listeners(
    wanted: list[tuple[str, str, int]], everywhere: frozenset[str], tries: int = 0
) -> dict[str, socket.socket]:
    """Sockets that listen; so many times more, where somebody has one of the addresses still. Raises KernelError."""
    while True:
        try:
            return await asyncio.to_thread(sockets.open_listeners, wanted, everywhere)
        except KernelError as error:
            if not tries or error.errno != errno.EADDRINUSE:
                raise
        tries -= 1
        await asyncio.sleep(_LINGER)
