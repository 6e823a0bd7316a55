"""Changes of a lab's objects, told to whoever asks for those after a version."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from emulab.cluster.endpoints import derived, derived_of
from emulab.cluster.history import Event, Expired
from emulab.cluster.store import Store
from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL
from emulab.kinds.registry import ENDPOINT_SLICE, ENDPOINTS, SERVICE
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
            there = [o for kind in kinds for o in objects.kind(kind)]
            if ENDPOINTS in kinds:
                there += derived(objects, None)
            return {"version": self._store.version, "events": [["ADDED", o.raw] for o in there]}
        events: list[list[Any]] = []
        changed = _DerivedEndpoints(self._store)
        woken = asyncio.Event()

        def heard(event: Event) -> None:
            if event.object.type in kinds:
                events.append([event.type, event.object.raw])
                woken.set()
            if ENDPOINTS in kinds and changed.concerned(event):
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
        return {"version": self._store.version, "events": events + changed.events()}


class _DerivedEndpoints:
    """What has become of Endpoints, which are nobody's but made of Services and their EndpointSlices."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._heard: dict[tuple[str, str], Event | None] = {}  # the last of the Service's own events

    def concerned(self, event: Event) -> bool:
        """Whether an event changes Endpoints. It is kept then."""
        o = event.object
        if o.type == SERVICE:
            self._heard[o.namespace, o.name] = event
        elif o.type == ENDPOINT_SLICE and (name := o.labels.get(SERVICE_NAME_LABEL)):
            self._heard.setdefault((o.namespace, name), None)
        else:
            return False
        return True

    def events(self) -> list[list[Any]]:
        objects, found = self._store.objects(), list[list[Any]]()
        for (namespace, name), event in self._heard.items():
            service = event.object if event else objects.get(SERVICE.key(namespace, name))
            endpoints = derived_of(objects, service) if service is not None else None
            if endpoints is not None:
                found.append([event.type if event else "MODIFIED", endpoints.raw])
        return found
