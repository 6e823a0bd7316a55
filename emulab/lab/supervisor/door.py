"""The listening end of a lab's control socket: nothing that befalls it ends the lab.

accept(2) may fail for want of descriptors or memory, which passes. Some descriptors are kept in reserve, so that the
command that comes then is still answered, and connections that ask for nothing give way.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from emulab.lab.folders import rundir
from emulab.lab.folders.disk import writing

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_BACKLOG = 1024  # beyond it, who gives up after a while is turned away at once (unix(7): EAGAIN)
_RESERVE = 8  # descriptors
_NEEDED = 4  # of them, by a command
_PAUSE, _LATER = 0.1, 1.0  # seconds until accept is tried again, until the reserve is filled up
_MOST, _FEWEST, _SHARE = 256, 16, 8


def most_connections() -> int:
    """How many connections there may be at once: a share of the descriptors, most of which are the lab's."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return min(_MOST, max(_FEWEST, soft // _SHARE))


class Door:
    """Listens at `control.sock` in the lab's folder."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with rundir.socket_path(path) as address:
            with suppress(FileNotFoundError):
                os.unlink(address)
            with writing(path / "control.sock"):
                self._listener.bind(address)
            os.chmod(address, 0o600)
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._reserve: list[int] = []
        self._refilling: asyncio.TimerHandle | None = None
        self._refill()

    def _refill(self) -> None:
        """Takes descriptors into reserve; where there aren't enough, again later."""
        self._refilling = None
        with suppress(OSError):
            while len(self._reserve) < _RESERVE:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        if len(self._reserve) < _RESERVE:
            self._refill_later()

    def _refill_later(self) -> None:
        if self._refilling is None:
            self._refilling = asyncio.get_running_loop().call_later(_LATER, self._refill)

    async def accept(self, make_room: Callable[[], Awaitable[bool]]) -> socket.socket:
        """The next connection, non-blocking. `make_room` ends one that can be done without, if there is any."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._listener)
                sock.setblocking(False)
                if not self._has_room():
                    await self._gave_way(make_room)
                return sock
            except OSError as error:
                if error.errno in EXHAUSTED and await self._gave_way(make_room):
                    continue
                print(f"control socket: {error.strerror}; trying again", flush=True)
                await asyncio.sleep(_PAUSE)

    def _has_room(self) -> bool:
        """Whether there are descriptors for what the connection will ask for."""
        tried: list[int] = []
        try:
            for _ in range(_NEEDED):
                tried.append(os.dup(self._listener.fileno()))
        except OSError:
            return False
        finally:
            for fd in tried:
                os.close(fd)
        return True

    async def _gave_way(self, make_room: Callable[[], Awaitable[bool]]) -> bool:
        """Frees some descriptors: for a connection, and for what will be asked by it. Returns whether it did."""
        kept, self._reserve = self._reserve, []
        for fd in kept:
            os.close(fd)
        self._refill_later()
        freed = len(kept)
        while freed < _RESERVE and await make_room():
            freed += 1
        return freed > 0

    def close(self) -> None:
        self._listener.close()
        if self._refilling is not None:
            self._refilling.cancel()
        while self._reserve:
            os.close(self._reserve.pop())
