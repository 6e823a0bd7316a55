"""What goes out once the loop has told of all that has come: bytes for many sockets, one after the other.

Whoever waits for them at another CPU is woken once, and finds more of them before it sleeps again; sent one by one, in
the middle of reading, each would wake it, which costs more than to send.

Rules:

* Bytes go out in the order in which they came here. Who does anything else with a transport that bytes may wait for
  (to close it, say) has `flush` done first.
* A large piece goes out at once, so that a transport that is full says so before the next piece is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from emulab.servers.streams.epollset import EpollSet

LARGE = 1 << 14

SendBytes = Callable[[bytes], None]


class Outbox:
    """The bytes that all connections of a proxy have for their other ends."""

    __slots__ = ("_due", "_waiting", "streams")

    def __init__(self) -> None:
        self.streams: EpollSet | None = None  # which has them sent at the end of each of its batches
        self._due = False  # whether the loop's next turn has been told
        self._waiting: list[tuple[SendBytes, bytes]] = []

    def put(self, write: SendBytes, data: bytes) -> None:
        """`write` takes these bytes in the loop's next turn."""
        if not self._due and (self.streams is None or not self.streams.turning):
            self._due = True
            asyncio.get_running_loop().call_soon(self._turn)
        self._waiting.append((write, data))
        if len(data) > LARGE:
            self.flush()

    def _turn(self) -> None:
        self._due = False
        self.flush()

    def take(self, write: SendBytes) -> bytes:
        """What waits for `write`, which sends it by itself."""
        own = [data for to, data in self._waiting if to == write]
        if own:
            self._waiting = [one for one in self._waiting if one[0] != write]
        return b"".join(own)

    def flush(self) -> None:
        """Sends all that there is."""
        waiting, self._waiting = self._waiting, []
        for write, data in waiting:
            try:
                write(data)
            except RuntimeError:  # its connection is gone, of which somebody will be told
                continue
            except Exception as error:  # of that one connection, and of nobody else's
                told = {"message": "bytes could not be sent", "exception": error, "transport": write}
                asyncio.get_running_loop().call_exception_handler(told)
