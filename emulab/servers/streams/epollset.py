"""The set of sockets that one event loop watches by one descriptor."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

READABLE, WRITABLE = select.EPOLLIN, select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR
"""What epoll tells whether asked or not."""
ENDED = select.EPOLLRDHUP
"""Beside `READABLE`: the other side has ended its stream, behind what there is to read."""

_BATCH = 1024  # events at a time
_BATCHES = 8  # times in a turn, so that what else the loop has to do is soon done
_FEW = 2  # events after which there are likely none yet

Ready = Callable[[int], None]
"""Is told which of its events have come; they may have passed meanwhile, so it asks the socket."""


def _nothing() -> None:
    """What is done at the end of a batch where nobody has anything to do."""


class EpollSet:
    """Calls whoever watches a socket that is ready, in the running event loop."""

    __slots__ = ("_all", "_epoll", "_ready", "at_end", "due", "loop", "turning")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.at_end: Callable[[], None] = _nothing
        """Called when all of a batch have been told: the place to send what they wanted sent."""
        self.turning = False
        """Whether `at_end` is going to be called anyway."""
        self.due: dict[int, int] = {}
        """Who may have something to read: the events of this batch by descriptor, but for those that have been told of
        bytes alone."""
        self._all = False  # whether the batch has all that was ready
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}
        self.loop.add_reader(self._epoll.fileno(), self._turn)

    def close(self) -> None:
        """Watches nothing any more."""
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._ready.clear()

    def watch(self, fd: int, events: int, ready: Ready) -> None:
        """From now on; raises OSError where the kernel watches no more (fs.epoll.max_user_watches)."""
        self._epoll.register(fd, events)
        self._ready[fd] = ready

    def change(self, fd: int, events: int) -> None:
        """Watches for other events."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Is told of nothing more; before the descriptor is closed."""
        if self._ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def was_silent(self, fd: int) -> bool:
        """Whether a socket that is watched, and has been read from if it was told to, had nothing more to tell when the
        batch began. False where nobody knows."""
        return self.turning and self._all and fd not in self.due

    def _turn(self) -> None:
        poll = self._epoll.poll
        for _ in range(_BATCHES):
            events = poll(0, _BATCH)
            if not events:
                return
            self.turning, self._all = True, len(events) < _BATCH
            try:
                self._tell(events)
            finally:
                self.turning = False
                self.at_end()
            if len(events) < _FEW or self._epoll.closed:
                return

    def _tell(self, events: list[tuple[int, int]]) -> None:
        ready, due = self._ready, dict(events)
        self.due = due
        for fd, event in events:
            told = ready.get(fd)
            if told is not None:
                if event == READABLE:
                    del due[fd]
                told(event)
