"""Changes of a lab's objects, told to whoever asks for those after a version."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from emulab.cluster.store import Event, Expired, Store
from emulab.lab.supervisor.arguments import COUNT, NAME, SECONDS, Arguments, optional, takes, tuples
from emulab.lab.supervisor.reconciler import Progress
from emulab.model.keys import GroupKind

_KINDS = tuples(NAME, NAME)


class Watches:
    """The operation `watch` of one lab. Nothing is kept for a watcher between two of its requests but the store's
    history: one that comes too late for it lists anew."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @takes(kinds=_KINDS, since=optional(COUNT), timeout=optional(SECONDS))
    async def watch(self, arguments: Arguments, _: Progress) -> Any:
        """`kinds`: [[group, kind], …]. Result: `{"version": …, "events": [[type, object], …]}`.

        Without `since`, a version, at once with all objects as ADDED. With it, as soon as something has happened after
        that version, or without events once `timeout` seconds are over; `events` is null when it's forgotten by now.
        """
        kinds = [GroupKind(*kind) for kind in arguments["kinds"]]
        since = arguments.get("since")
        if since is None:
            objects = self._store.objects()
            there = [["ADDED", o.raw] for kind in kinds for o in objects.kind(kind)]
            return {"version": self._store.version, "events": there}
        events: list[list[Any]] = []
        woken = asyncio.Event()

        def heard(event: Event) -> None:
            if event.object.type in kinds:
                events.append([event.type, event.object.raw])
                woken.set()

        try:
            stop = self._store.watch(heard, since)
        except Expired:
            return {"version": since, "events": None}
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(arguments.get("timeout")):
                    await woken.wait()
        finally:
            stop()
        return {"version": self._store.version, "events": events}
