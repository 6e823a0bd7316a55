"""The lab's objects, as they were given, with what an API server adds: uid, versions, status.

`resourceVersion` counts all changes, `generation` those of an object's spec. Whoever wants to know of
changes watches: the callback gets each event right away and must not block.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.kinds.registry import POD
from emulab.model.collection import Change, Objects, Put
from emulab.model.keys import Key
from emulab.model.objects import Object

_FRESH = uuid.UUID("0b6c9a0e-5f0b-4b43-9c0c-7f1f2a0d3c11")  # any fixed namespace will do


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to an object: ADDED, MODIFIED or DELETED, as in Kubernetes' watch."""

    type: str
    object: Object


@dataclass(slots=True)
class Changes:
    """What changed: each object as it was before, None for one that wasn't there."""

    before: dict[Key, Object | None] = field(default_factory=dict)
    since: float = 0.0  # of the clock of `time.perf_counter`: when the first of them came


def timestamp() -> str:
    """Now, as Kubernetes writes times: RFC 3339 in whole seconds, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Objects by kind and key. Not thread-safe: it lives in the supervisor's event loop."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], dict[Key, Object]] = {}
        self._version = 0
        self._watchers: list[Callable[[Event], None]] = []
        # Copies of the kinds that haven't changed since.
        self._frozen: dict[tuple[str, str], dict[Key, Object]] = {}
        self._snapshot: Objects | None = None
        self._pods_ever: frozenset[Key] = frozenset()
        self._new_pods: set[Key] = set()  # not yet in `_pods_ever`
        self._changes = Changes()

    @property
    def version(self) -> int:
        return self._version

    def objects(self) -> Objects:
        """All objects as they are now."""
        if self._snapshot is None:
            if self._new_pods:
                self._pods_ever |= self._new_pods
                self._new_pods.clear()
            self._snapshot = Objects.of_kinds(self.save(), self._pods_ever)
        return self._snapshot

    def get(self, key: Key) -> Object | None:
        return self._kinds.get(key[:2], {}).get(key)

    def watch(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Calls `callback` for every change from now on; the result stops it."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def take_changes(self) -> Changes:
        """What changed since this was asked the last time."""
        changes, self._changes = self._changes, Changes()
        return changes

    def _note(self, key: Key, old: Object | None) -> None:
        if not self._changes.before:
            self._changes.since = perf_counter()
        self._changes.before.setdefault(key, old)

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if isinstance(change, Put):
                self.put(change.object)
            else:
                self.delete(change.key)

    def put(self, o: Object) -> Object:
        """Creates the object or replaces the one of its key. Nothing happens when nothing differs."""
        old = self.get(o.key)
        if old is not None and old.raw == o.raw:
            return old
        self._version += 1
        self._note(o.key, old)
        metadata = dict(o.metadata)
        before = old.metadata if old else {}
        metadata["uid"] = metadata.get("uid") or before.get("uid") or str(uuid.uuid4())
        if old is None and o.type == POD:
            metadata["uid"] = self._fresh_uid(o.key, metadata["uid"])
        metadata["creationTimestamp"] = before.get("creationTimestamp") or timestamp()
        changed = old is None or old.raw.get("spec") != o.raw.get("spec")
        metadata["generation"] = int(before.get("generation", 0)) + (1 if changed else 0)
        metadata["resourceVersion"] = str(self._version)
        stored = o.replace(metadata=metadata)
        self._kinds.setdefault(o.type, {})[o.key] = stored
        self._tell("MODIFIED" if old else "ADDED", stored)
        return stored

    def _fresh_uid(self, key: Key, uid: str) -> str:
        """Controllers derive a Pod's uid from its name; one that takes a freed name must be another Pod."""
        if key in self._new_pods or key in self._pods_ever:
            return str(uuid.uuid5(_FRESH, f"{uid}/{self._version}"))
        self._new_pods.add(key)
        return uid

    def delete(self, key: Key) -> None:
        """Deletes the object. A Pod that has containers is only marked; `remove` is the kubelet's word."""
        o = self.get(key)
        if o is None:
            return
        if o.type == POD and o.status.get("podIPs") and o.status.get("phase") not in ("Succeeded", "Failed"):
            if not o.metadata.get("deletionTimestamp"):
                grace = o.spec.get("terminationGracePeriodSeconds")
                deletion = {
                    "deletionTimestamp": timestamp(),
                    "deletionGracePeriodSeconds": 30 if grace is None else grace,
                }
                self.put(o.replace(metadata={**o.metadata, **deletion}))
            return
        self.remove(key)

    def remove(self, key: Key) -> None:
        o = self._kinds.get(key[:2], {}).pop(key, None)
        if o is not None:
            self._version += 1
            self._note(key, o)
            self._tell("DELETED", o)

    def set_status(self, key: Key, **fields: Any) -> None:
        """Sets fields of an object's status, if the object is still there."""
        o = self.get(key)
        if o is not None:
            self.put(o.replace(status={**o.status, **fields}))

    def save(self) -> dict[tuple[str, str], dict[Key, Object]]:
        """Everything, to come back to with `restore`. What didn't change since the last time isn't copied again."""
        for kind, members in self._kinds.items():
            if kind not in self._frozen:
                self._frozen[kind] = dict(members)
        return {kind: self._frozen[kind] for kind in self._kinds}  # in the order in which kinds came

    def restore(self, saved: dict[tuple[str, str], dict[Key, Object]]) -> None:
        """Comes back to what `save` gave. That is no change which `take_changes` or watchers would hear of."""
        self._changes = Changes()
        self._kinds = {kind: dict(members) for kind, members in saved.items()}
        self._version += 1
        self._frozen, self._snapshot = dict(saved), None

    def _tell(self, what: str, o: Object) -> None:
        self._frozen.pop(o.type, None)
        self._snapshot = None
        for watcher in tuple(self._watchers):
            watcher(Event(what, o))
