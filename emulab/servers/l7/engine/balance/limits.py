"""How much an upstream is asked at once: Envoy's circuit breakers, as a DestinationRule's connectionPool sets them.

A connection carries one request at a time, so the number of connections limits the requests that are under way; who
comes beyond it waits, the first one first, while there is room for who waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from emulab.servers.l7.config import ConnectionLimits

Wake = Callable[[], None]
"""What a shell gives for a request that waits: it is called when its time has come."""


class QueuedRequest:
    """A request that waits for its time, until it is told to go on or gives up."""

    __slots__ = ("called", "wake")

    def __init__(self) -> None:
        self.wake: Wake | None = None
        self.called = False  # it may go on, and counts as one that does


class Limiter:
    """Who is at an upstream, counted for as long as there is such an upstream, whatever becomes of its limits."""

    __slots__ = ("_queue", "retries", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.retries = 0
        self._queue: deque[QueuedRequest] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def enter(self, limits: ConnectionLimits) -> QueuedRequest | str | None:
        """Lets a request go on (None), has it wait, or says why it may do neither."""
        if limits.requests is not None and self.under_way + len(self._queue) >= limits.requests:
            return f"the backend has as many requests as it may have ({limits.requests})"
        if limits.connections is None or self.under_way < limits.connections:
            self.under_way += 1
            return None
        if limits.pending is not None and len(self._queue) >= limits.pending:
            waiting = f"{limits.pending} request{'s' if limits.pending != 1 else ''}"
            return f"all of the backend's connections are in use ({limits.connections}), and {waiting} may wait for one"
        self._queue.append(waiting_one := QueuedRequest())
        return waiting_one

    def leave(self, limits: ConnectionLimits | None) -> Wake | None:
        """A request is through. Who goes on in its place, if anybody waits."""
        self.under_way -= 1
        room = limits is None or limits.connections is None or self.under_way < limits.connections
        if not self._queue or not room:
            return None
        first = self._queue.popleft()
        first.called = True
        self.under_way += 1
        return first.wake

    def give_up(self, waiting: QueuedRequest) -> None:
        """A request that hasn't been called waits no longer."""
        self._queue.remove(waiting)

    def retry(self, limits: ConnectionLimits) -> bool:
        """Whether one more request may be at a second try; it counts as one then, until `retries` is lowered."""
        if limits.retries is not None and self.retries >= limits.retries:
            return False
        self.retries += 1
        return True
