"""The control protocol: JSON lines over a Unix stream socket; descriptors may come with a line.

A request is `{"op": NAME, ...}`. The answers are any number of `{"progress": text}` and then one
`{"result": ...}` or `{"error": text, "kind": "user" | "kernel" | …, "problems": [...]}`. Descriptors come before
the result, with lines `{"descriptors": COUNT}`; those of a request come with its first byte. Where an answer takes its
time, `{"alive": true}` says every second that the lab is at it.

`exec` has two answers: a result at once, upon which the client sends one more line, with three descriptors (stdin,
stdout and stderr), and the program's. While that runs, lines `{"signal": NUMBER}` may follow, and the end of the
connection ends it. The descriptors come late, as they stay open for as long as nobody reads what they came with: if the
lab is stopped then, whoever waits for the end of a pipe would wait for the lab to go on.

Manifests travel in requests, so one may be long; what all connections together have sent of lines that aren't whole
yet is bounded, and so is the time that a line may stand still.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

from emulab.errors import UserError
from emulab.lab.client.client import MAX_FDS
from emulab.lab.client.waiting import readable, writable

MAX_LINE = 256 << 20  # bytes, of one line and of all that are under way
SMALL_LINE = 64 << 10  # bytes that each connection may send besides
STANDSTILL = 60.0  # seconds without a byte of a line that has begun, either way
_CHUNK = 1 << 20
_CONTROL = socket.CMSG_SPACE(MAX_FDS * struct.calcsize("i"))


class LineRoom:
    """What there is for long lines that are under way, of all connections together."""

    def __init__(self, size: int = MAX_LINE) -> None:
        self._free = size

    def take(self, size: int) -> None:
        """Raises UserError when there isn't as much."""
        if size > self._free:
            raise UserError(
                f"the lab takes in {MAX_LINE >> 20} MiB of requests at once: ask for less, or again later"
            )
        self._free -= size

    def give_back(self, size: int) -> None:
        self._free += size


class LineReader:
    """Reads the requests of one connection, a non-blocking socket.

    `descriptors` are those that came with the bytes so far; who doesn't take them out leaves them to be closed.
    """

    def __init__(self, sock: socket.socket, room: LineRoom | None = None) -> None:
        self._sock = sock
        self._room = room or LineRoom()
        self._rest = bytearray()
        self._taken = 0
        self.descriptors: list[int] = []

    async def line(self) -> dict[str, Any] | None:
        """The next request, or None at the end, and when what comes is none.

        Raises UserError when it is too long or too deep, TimeoutError when it stands still.
        """
        self.close_descriptors()
        searched = 0
        try:
            while (end := self._rest.find(b"\n", searched)) < 0:
                searched = len(self._rest)
                if not await self._more():
                    return None
            if end + 1 == len(self._rest):  # as a rule; a long one isn't copied
                line, self._rest = self._rest, bytearray()
            else:
                line, self._rest = self._rest[:end], self._rest[end + 1 :]
        finally:
            self._room.give_back(self._taken)
            self._taken = 0
        return _parsed(line)

    async def _more(self) -> bool:
        """Takes in what comes next; returns False at the end."""
        async with asyncio.timeout(STANDSTILL if self._rest else None):
            chunk = await self._receive()
        wanted = max(0, len(self._rest) + len(chunk) - SMALL_LINE) - self._taken
        if wanted > 0:
            self._room.take(wanted)
            self._taken += wanted
        self._rest += chunk
        return bool(chunk)

    async def _receive(self) -> bytes:
        while True:
            try:
                # socket.recv_fds of Python 3.11 doesn't pass on its flags.
                chunk, ancillary, flags, _ = self._sock.recvmsg(_CHUNK, _CONTROL, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await readable(self._sock.fileno())
                continue
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.descriptors += [fd for (fd,) in struct.iter_unpack("i", data[: len(data) & ~3])]
            if flags & socket.MSG_CTRUNC or len(self.descriptors) > MAX_FDS:
                self.close_descriptors()
                # The kernel drops those for which the lab has no number left, too (recvmsg(2), EMFILE).
                raise UserError(
                    f"a request takes at most {MAX_FDS} descriptors, and no more than the lab has room for: "
                    "raise the limit of open files (ulimit -n) before `up`"
                )
            return chunk

    def close_descriptors(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())


def _parsed(line: bytearray) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except (RecursionError, MemoryError):
        raise UserError("a request is nested too deeply, or too large") from None
    return message if isinstance(message, dict) else None


async def write_line(sock: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Sends a message; descriptors, at most MAX_FDS, go with its first byte.

    Raises OSError when the peer has gone, TimeoutError, which is one, when it takes nothing for long.
    """
    left = memoryview(json.dumps(message).encode() + b"\n")
    if fds:
        await _send_with(sock, left[:1], fds)
        left = left[1:]
    while left:
        try:
            left = left[sock.send(left) :]
        except BlockingIOError:
            async with asyncio.timeout(STANDSTILL):
                await writable(sock.fileno())


async def send_descriptors(sock: socket.socket, fds: Sequence[int]) -> None:
    """Sends descriptors, as many with a line `{"descriptors": COUNT}` as a message holds.

    The kernel keeps a message's descriptors with its bytes, so the receiver gets them in order.
    """
    for start in range(0, len(fds), MAX_FDS):
        part = list(fds[start : start + MAX_FDS])
        line = json.dumps({"descriptors": len(part)}).encode() + b"\n"
        await _send_with(sock, line, part)


async def _send_with(sock: socket.socket, data: bytes | memoryview, fds: Sequence[int]) -> None:
    while True:
        try:
            socket.send_fds(sock, [data], list(fds))
            return
        except BlockingIOError:
            async with asyncio.timeout(STANDSTILL):
                await writable(sock.fileno())
