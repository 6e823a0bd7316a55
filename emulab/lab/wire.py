"""The control protocol: JSON lines over a Unix stream socket; descriptors may come with a line.

A request is `{"op": NAME, ...}`. The answers are any number of `{"progress": text}` and then one
`{"result": ...}` or `{"error": text, "kind": "user" | "kernel" | …, "problems": [...]}`. Descriptors come before
the result, with lines `{"descriptors": COUNT}`. Where an answer takes its time, `{"alive": true}` says every second
that the lab is at it. `exec` comes with three descriptors, stdin, stdout and stderr; while its program runs, lines
`{"signal": NUMBER}` may follow, and the end of the connection ends the program.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from emulab.lab.client import MAX_FDS
from emulab.lab.waiting import readable, writable

MAX_LINE = 256 << 20  # bytes; manifests travel in requests


class Lines:
    """The messages that come over a non-blocking socket, and the descriptors that come with them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parts: list[bytes] = []  # of a line that isn't whole yet
        self._size = 0
        self._whole: deque[bytes] = deque()
        self._descriptors: list[int] = []

    async def next(self) -> dict[str, Any] | None:
        """The next message, or None at the end. Raises ValueError for what is none, OSError when the peer has gone."""
        while not self._whole:
            if self._size > MAX_LINE or not await self._receive():
                return None
        message = json.loads(self._whole.popleft())
        return message if isinstance(message, dict) else None

    def descriptors(self) -> list[int]:
        """The descriptors that have come so far; they are the caller's now."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def close(self) -> None:
        """Closes the descriptors that nobody took."""
        for fd in self.descriptors():
            os.close(fd)

    async def _receive(self) -> bool:
        """Waits for more bytes; False at the end."""
        while True:
            try:
                chunk, fds, _, _ = socket.recv_fds(self._sock, 1 << 20, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await readable(self._sock.fileno())
                continue
            self._descriptors += fds
            *whole, rest = chunk.split(b"\n")
            if whole:
                self._whole += [b"".join((*self._parts, whole[0])), *whole[1:]]
                self._parts, self._size = [], 0
            self._parts.append(rest)
            self._size += len(rest)
            return bool(chunk)


async def write_line(sock: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Sends a message; descriptors, at most MAX_FDS, go with its first byte."""
    data = json.dumps(message).encode() + b"\n"
    if fds:
        await _send_with(sock, data[:1], fds)
        data = data[1:]
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def send_descriptors(sock: socket.socket, fds: Sequence[int]) -> None:
    """Sends descriptors, as many with a line `{"descriptors": COUNT}` as a message holds.

    The kernel keeps a message's descriptors with its bytes, so the receiver gets them in order.
    """
    for start in range(0, len(fds), MAX_FDS):
        part = list(fds[start : start + MAX_FDS])
        line = json.dumps({"descriptors": len(part)}).encode() + b"\n"
        await _send_with(sock, line, part)


async def _send_with(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    while True:
        try:
            socket.send_fds(sock, [data], list(fds))
            return
        except BlockingIOError:
            await writable(sock.fileno())
