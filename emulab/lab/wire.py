"""The control protocol: JSON lines over a Unix stream socket; a descriptor may come with a line.

A request is `{"op": NAME, ...}`. The answers are any number of `{"progress": text}` and then one
`{"result": ...}` or `{"error": text, "kind": "user" | "kernel" | …, "problems": [...]}`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

MAX_LINE = 256 << 20  # bytes; manifests travel in requests


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


def send_descriptor(sock: socket.socket, message: dict[str, Any], fd: int) -> None:
    """Sends a short message with a descriptor."""
    socket.send_fds(sock, [json.dumps(message).encode() + b"\n"], [fd])
