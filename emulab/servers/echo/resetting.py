"""Connections that end with a reset, whatever was read of them."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all (socket(7))


def reset(transport: asyncio.Transport) -> None:
    """Ends a connection so."""
    # Another descriptor of the same socket: that of the loop's own can't be told so.
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
