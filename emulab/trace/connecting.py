"""Which of a host's two addresses, one of each family, a traced request goes to: that which connects first (RFC 8305).

`emulab.servers.eyeballs` has the same for clients that need not be watched. Blocking.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Sequence

from emulab.dataclass import dataclass
from emulab.observe.events import TriedConnection
from emulab.servers.eyeballs import HEAD_START

_PATIENCE = 0.2  # seconds between looks whether anybody still waits


@dataclass(slots=True)
class _Try:
    """One address and the socket that connects to it. `code` is an errno, 0 once it has connected."""

    address: str
    sock: socket.socket
    own: str  # the place's address of that family
    begun: float = 0.0
    local: tuple[str, int] = ("", 0)
    code: int = errno.EINPROGRESS

    def begin(self, port: int) -> None:
        self.begun = time.monotonic()
        self.sock.setblocking(False)
        number = self.sock.getsockname()[1]
        self.code = self.sock.connect_ex((self.address, port))
        under_way = self.code in (0, errno.EINPROGRESS)
        self.local = (str(self.sock.getsockname()[0]) if under_way else self.own, number)

    def look(self) -> None:
        """Takes note of how the connecting went, where poll(2) has something to say of it."""
        self.code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    @property
    def waits(self) -> bool:
        return bool(self.begun) and self.code == errno.EINPROGRESS


@dataclass(frozen=True, slots=True)
class Raced:
    """The address that was taken, or was tried last: its socket's own name, and an errno (0: it has connected)."""

    address: str
    local: tuple[str, int]
    code: int
    others: tuple[TriedConnection, ...]


def race(
    candidates: Sequence[tuple[str, socket.socket, str]],
    port: int,
    timeout: float,
    abandoned: Callable[[], bool],
) -> Raced:
    """Connects to the first of two addresses, each with a socket and its place's own address, and to the second one
    when the first fails, or hasn't connected after a moment."""
    first, second = (_Try(*candidate) for candidate in candidates)
    first.begin(port)
    end = first.begun + timeout
    while first.code and second.code:
        now = time.monotonic()
        if not second.begun and (not first.waits or now >= first.begun + HEAD_START):
            second.begin(port)
            continue
        waiting = [one for one in (first, second) if one.waits]
        if not waiting or now >= end or abandoned():
            break
        _await(
            waiting, min(end, now + _PATIENCE, first.begun + HEAD_START if not second.begun else end) - now
        )
    # Where both fail it is the last one that is told of, if it was tried at all.
    taken, other = (first, second) if not (first.code and second.begun) else (second, first)
    code = errno.ETIMEDOUT if taken.code == errno.EINPROGRESS else taken.code
    others = (
        (_passed_over(other, first=other is first, timeout=timeout, won=code == 0),) if other.begun else ()
    )
    if code == 0:  # the other one is given up, lest it connects later
        other.sock.close()
    return Raced(taken.address, taken.local, code, others)


def _await(waiting: Sequence[_Try], seconds: float) -> None:
    poll = select.poll()
    by_number = {one.sock.fileno(): one for one in waiting}
    for number in by_number:
        poll.register(number, select.POLLOUT)
    for number, _ in poll.poll(max(0, seconds * 1000)):
        by_number[number].look()


def _passed_over(one: _Try, first: bool, timeout: float, won: bool) -> TriedConnection:
    if one.code not in (0, errno.EINPROGRESS):
        return TriedConnection(one.address, one.local, first, "connect", one.code, os.strerror(one.code))
    if not first:
        return TriedConnection(
            one.address, one.local, first, "timeout", errno.ETIMEDOUT, "not needed any more"
        )
    waited = f"{HEAD_START * 1000:g} ms" if won else f"{timeout:g} s"
    return TriedConnection(
        one.address, one.local, first, "timeout", errno.ETIMEDOUT, f"no answer within {waited}"
    )
