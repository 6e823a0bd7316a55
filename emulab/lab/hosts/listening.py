"""Listening sockets of servers, opened where they shall be."""

from __future__ import annotations

import asyncio
import errno
import socket

from emulab.errors import KernelError
from emulab.kernel import sockets

_TRIES, _LEAVING = 10, 0.05  # seconds between


async def open_listeners(
    wanted: list[tuple[str, str, int]], everywhere: frozenset[str]
) -> dict[str, socket.socket]:
    """Listening sockets. A program that had these addresses, and has just been ended, may take a moment to leave."""
    for _ in range(_TRIES):
        try:
            return await asyncio.to_thread(sockets.open_listeners, wanted, everywhere)
        except KernelError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        await asyncio.sleep(_LEAVING)
    return await asyncio.to_thread(sockets.open_listeners, wanted, everywhere)
