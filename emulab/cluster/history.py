"""What happened to objects of late, and who is told of what happens: the watches of a store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.model.objects import Object

HISTORY = 1000
"""Events that are remembered for those who watch from a version that is past."""


class Expired(UserError):
    """The version from which somebody wants to watch is forgotten (HTTP 410): list anew, and watch from there."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to an object: ADDED, MODIFIED or DELETED, as in Kubernetes' watch.

    A deleted object is told as it was at last, with the `resourceVersion` of its end.
    """

    type: str
    object: Object
    version: int


class History:
    """The last events, and the watchers, each of whom gets an event right away and must not block."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=HISTORY)
        self._watchers: list[Callable[[Event], None]] = []

    def watch(self, callback: Callable[[Event], None], since: int, now: int) -> Callable[[], None]:
        """Calls `callback` for every event after the version `since`, of which `now` is the last; the result stops it.

        Raises Expired when some of the events are forgotten.
        """
        if since != now:
            for event in self._past(since, now):
                callback(event)
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def _past(self, since: int, now: int) -> list[Event]:
        oldest = self._events[0].version if self._events else now + 1
        if since < oldest - 1:
            raise Expired(f"too old resource version: {since} ({oldest - 1})")
        return [event for event in self._events if event.version > since]

    def announce(self, event: Event) -> None:
        """Tells an event to all who watch."""
        self._events.append(event)
        for watcher in tuple(self._watchers):
            watcher(event)
