"""Connections that the active node forwards, told to the other one, so that they survive when that takes over.

They go in datagrams between the nodes' own addresses, at conntrackd's port: each as it begins or changes, and all of
them now and then, for what was lost and what began before the other node did.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Protocol

from emulab.errors import EmulabError

PORT = 3780
_ROOM = 1400  # octets of a datagram, unless one connection needs more
_AGAIN = 5.0
"""Seconds between two times that all are told."""
_ALL = b"?"
"""In the place of a copy: what asks for all that there are."""
_SIZE = struct.Struct("!H")
_BURST = 64


class Copies(Protocol):
    """The kernel's side of it (`kernel.flowcopies`)."""

    news: socket.socket

    def heard(self) -> Iterator[bytes]: ...

    def everything(self) -> list[bytes]: ...

    def take(self, copies: Iterable[bytes]) -> int: ...

    def close(self) -> None: ...


def packed(copies: Iterable[bytes]) -> Iterator[bytes]:
    """Copies in datagrams, each with its size before it."""
    data = b""
    for copy in copies:
        part = _SIZE.pack(len(copy)) + copy
        if data and len(data) + len(part) > _ROOM:
            yield data
            data = b""
        data += part
    if data:
        yield data


def unpacked(data: bytes) -> list[bytes]:
    """The copies in a datagram, as far as it is one."""
    found, offset = [], 0
    while offset + _SIZE.size <= len(data):
        (size,) = _SIZE.unpack_from(data, offset)
        offset += _SIZE.size
        if not size or offset + size > len(data):
            break
        found.append(data[offset : offset + size])
        offset += size
    return found


class FlowExchange:
    """One node's side. It tells while it is active, and takes what it is told while it isn't."""

    def __init__(self, copies: Copies, own: str, peer: str) -> None:
        self.active = False
        self.told = self.taken = 0
        self._copies = copies
        self._peer = peer
        family = socket.AF_INET6 if ":" in own else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.bind((own, PORT))
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sock, self._readable)
        loop.add_reader(copies.news, self._changed)
        self._timer = loop.call_later(_AGAIN, self._all)

    def _changed(self) -> None:
        news = list(self._copies.heard())  # read also by who has nothing to say of it
        if self.active:
            self._send(news)

    def _all(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._all)
        if self.active:
            self._tell_all()

    def _tell_all(self) -> None:
        with suppress(OSError, EmulabError):
            self._send(self._copies.everything())

    def enter(self, active: bool) -> None:
        """The node is active, or isn't: then it asks for all that has begun while it didn't hear."""
        self.active = active
        if not active:
            self._send([_ALL])

    def _send(self, copies: list[bytes]) -> None:
        self.told += len(copies)
        for datagram in packed(copies):
            with suppress(OSError):
                self._sock.sendto(datagram, (self._peer, PORT))

    def _readable(self) -> None:
        for _ in range(_BURST):
            try:
                data, sender = self._sock.recvfrom(1 << 16)
            except OSError:
                return
            copies = unpacked(data) if sender[0] == self._peer else []
            if copies == [_ALL]:
                if self.active:
                    self._tell_all()
            elif not self.active:
                self.taken += len(copies)
                with suppress(OSError):
                    self._copies.take(copies)

    def close(self) -> None:
        self._timer.cancel()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock)
        loop.remove_reader(self._copies.news)
        self._sock.close()
        self._copies.close()
