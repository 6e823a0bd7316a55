"""The control protocol: JSON lines over a Unix stream socket; descriptors may come with a line.

A request is `{"op": NAME, ...}`. The answers are any number of `{"progress": text}` and then one
`{"result": ...}` or `{"error": text, "kind": "user" | "kernel" | …, "problems": [...]}`. Descriptors come before
the result, with lines `{"descriptors": COUNT}`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any

from emulab.lab.client import MAX_FDS

MAX_LINE = 256 << 20  # bytes; manifests travel in requests
_FULL = 0.001  # seconds until a full socket is tried again


async def read_line(sock: socket.socket) -> dict[str, Any] | None:
    """The next message from a non-blocking socket, or None at its end. One message is under way at a time."""
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    size = 0
    while size < MAX_LINE:
        chunk = await loop.sock_recv(sock, 1 << 20)
        if not chunk:
            return None
        parts.append(chunk)
        size += len(chunk)
        if chunk.endswith(b"\n"):
            message = json.loads(b"".join(parts))
            return message if isinstance(message, dict) else None
    return None


async def write_line(sock: socket.socket, message: dict[str, Any]) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, json.dumps(message).encode() + b"\n")


async def send_descriptors(sock: socket.socket, fds: Sequence[int]) -> None:
    """Sends descriptors, as many with a line `{"descriptors": COUNT}` as a message holds.

    The kernel keeps a message's descriptors with its bytes, so the receiver gets them in order.
    """
    for start in range(0, len(fds), MAX_FDS):
        part = list(fds[start : start + MAX_FDS])
        line = json.dumps({"descriptors": len(part)}).encode() + b"\n"
        while True:
            try:
                socket.send_fds(sock, [line], part)
                break
            except BlockingIOError:
                await asyncio.sleep(_FULL)
