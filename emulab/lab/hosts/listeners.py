"""The listening sockets that servers are given."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Container, Sequence

from emulab.errors import KernelError
from emulab.kernel import sockets

_FREED = (
    0.01,
    0.03,
    0.1,
    0.3,
    1.0,
)  # seconds between attempts to listen where somebody does who is about to end


async def listeners(
    wanted: Sequence[tuple[str, str, int]], everywhere: Container[str], again: bool, several: bool = False
) -> dict[str, socket.socket]:
    """See `sockets.open_listeners`. Raises KernelError.

    A server that begins `again` may do so before processes have gone that had its addresses before.
    """
    for pause in _FREED if again and wanted else ():
        try:
            return await asyncio.to_thread(sockets.open_listeners, wanted, everywhere, several)
        except KernelError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        await asyncio.sleep(pause)
    return await asyncio.to_thread(sockets.open_listeners, wanted, everywhere, several) if wanted else {}
