"""The lab's objects, as they were given, with what an API server adds: uid, versions, status.

Rules:

* `put` writes all of an object but its status, `put_status` its status alone, as with Kubernetes' status subresource:
  who reports how things are never takes back what was asked for meanwhile.
* `resourceVersion` counts all changes and only goes up; `generation` counts those of an object's spec. What is undone
  (`revert`) is written anew, so that watchers hear of it as of any other change.
* Whoever wants to know of changes watches, from now on or from a version that isn't long ago. The callback gets each
  event right away and must not block.
* An object with finalizers is only marked by `delete`; it goes once a write leaves it none. A Namespace has its own in
  its spec, as with Kubernetes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from time import perf_counter, time
from typing import Any

from emulab.cluster.adoptable import Adoptable, adoptable
from emulab.cluster.held import is_ended_by_kubelet, is_held, is_marked
from emulab.cluster.history import Event, History
from emulab.dataclass import dataclass, field
from emulab.errors import UserError
from emulab.kinds.registry import NAMESPACE, POD
from emulab.model.collection import Change, Delete, Objects, Put, PutStatus, Tell
from emulab.model.facts import Facts
from emulab.model.keys import GroupKind, Key
from emulab.model.members import Members, Version
from emulab.model.objects import Object

_FRESH = uuid.UUID("0b6c9a0e-5f0b-4b43-9c0c-7f1f2a0d3c11")  # any fixed namespace will do
_ENDED = ("Succeeded", "Failed")  # phases of a Pod


class Conflict(UserError):
    """A write was meant for another state of the object than the one that is there (HTTP 409)."""


class NotFound(UserError):
    """The object isn't there (HTTP 404)."""


class Forbidden(UserError):
    """What was asked is understood, and refused (HTTP 403)."""


@dataclass(slots=True)
class Changes:
    """What changed: each object as it was before (None: it wasn't there), and the version of its last change."""

    before: dict[Key, Object | None] = field(default_factory=dict)
    versions: dict[Key, int] = field(default_factory=dict)
    since: float = 0.0  # of the clock of `time.perf_counter`: when the first of them came


def timestamp(seconds: float | None = None) -> str:
    """Unix time, or now, as Kubernetes writes times: RFC 3339 in whole seconds, UTC."""
    return _rfc3339(int(time() if seconds is None else seconds))


@lru_cache(16)
def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Objects by kind and key. Not thread-safe: a store lives in one thread, and `fork` makes one for another."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], Version[Key, Object]] = {}
        # Kinds whose members others read, so that a write copies them first.
        self._shared: set[tuple[str, str]] = set()
        self._version = 0
        self._history = History()
        self._snapshot: Objects | None = None
        self._pods_ever: frozenset[Key] = frozenset()
        self._new_pods: set[Key] = set()  # not yet in `_pods_ever`
        self._changes = Changes()
        self._told: dict[tuple[Key, str, str], Tell] = {}  # once each, however many passes it took
        self._facts = Facts()

    # reading

    @property
    def version(self) -> int:
        return self._version

    def objects(self) -> Objects:
        """All objects as they are now. Those of kinds that didn't change since the last time aren't copied again."""
        if self._snapshot is None:
            if self._new_pods:
                self._pods_ever |= self._new_pods
                self._new_pods = set()
            self._shared.update(self._kinds)
            self._snapshot = Objects.of_kinds(dict(self._kinds), self._pods_ever, self._facts)
        return self._snapshot

    def members(self, kind: GroupKind) -> Members:
        """All objects of a kind as they are now. Unlike `objects`, this has no write of another kind copy anything."""
        found = self._kinds.get(kind)
        if found is None:
            return {}
        self._shared.add(kind)
        return found

    def get(self, key: Key) -> Object | None:
        members = self._kinds.get(key[:2])
        return None if members is None else members.get(key)

    def has_kind(self, kind: GroupKind) -> bool:
        """Whether there is an object of the kind. It costs less than asking `objects`, between two writes."""
        return bool(self._kinds.get(kind))

    def watch(self, callback: Callable[[Event], None], since: int | None = None) -> Callable[[], None]:
        """Calls `callback` for every change from now on, or for those after the version `since`; the result stops it.

        Raises Expired when some of the latter are forgotten.
        """
        return self._history.watch(callback, self._version if since is None else since, self._version)

    @property
    def changes(self) -> Changes:
        """What changed since `take_changes` was asked the last time."""
        return self._changes

    def take_changes(self) -> Changes:
        """What changed since this was asked the last time."""
        changes, self._changes = self._changes, Changes()
        return changes

    def take_told(self) -> list[Tell]:
        """What `apply` was to tell since this was asked the last time."""
        told, self._told = self._told, {}
        return list(told.values())

    # writing

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            match change:
                case Put(o):
                    self.put(o)
                case PutStatus(key, status):
                    self.put_status(key, status)
                case Delete(key):
                    self.delete(key)
                case Tell(about):
                    self._told.setdefault((about.key, change.reason, change.message), change)

    def put(self, o: Object, expected: str | None = None) -> Object:
        """Creates the object or replaces all but the status of the one of its key. No change is no write.

        `expected`: the `resourceVersion` that the object must have. Raises Conflict when it has another.
        """
        key = o.key
        old = self.get(key)
        if expected is not None and (old is None or old.metadata["resourceVersion"] != expected):
            raise Conflict(
                f"{key}: the object has been modified; please apply your changes to the latest version and try again"
            )
        given = {name: value for name, value in o.raw.items() if name != "status"}
        if old is not None and "status" in old.raw:
            given["status"] = old.raw["status"]
        if old is not None and old.raw == given:
            return old
        before = old.metadata if old else {}
        metadata = dict(o.metadata)
        metadata["uid"] = metadata.get("uid") or before.get("uid") or str(uuid.uuid4())
        if old is None and key.type == POD:
            metadata["uid"] = self._fresh_uid(key, metadata["uid"])
        metadata["creationTimestamp"] = before.get("creationTimestamp") or timestamp()
        changed = old is None or old.raw.get("spec") != given.get("spec")
        metadata["generation"] = int(before.get("generation", 0)) + (1 if changed else 0)
        new = Object({**given, "metadata": metadata}, o.position)
        if old is not None and is_marked(old) and not is_held(new) and not is_ended_by_kubelet(old):
            self._forget(key)  # it has waited for that alone
            return old
        return self._write(key, old, new, metadata)

    def put_status(self, key: Key, status: Mapping[str, Any], uid: str = "") -> Object | None:
        """Replaces an object's status. None, and nothing is done, when it isn't there, or is another one than `uid`."""
        old = self.get(key)
        if old is None or (uid and old.metadata["uid"] != uid):
            return None
        if old.status == status:
            return old
        return self._write(key, old, old.replace(status=dict(status)), old.metadata)

    def set_status(self, key: Key, uid: str = "", **fields: Any) -> None:
        """Sets fields of an object's status, if the object (with that uid, where one is given) is still there."""
        o = self.get(key)
        if o is not None:
            self.put_status(key, {**o.status, **fields}, uid)

    def delete(self, key: Key, uid: str = "", grace: int | None = None) -> None:
        """Deletes the object. One that has finalizers, and a Pod that has containers, is only marked: it goes with the
        last finalizer, and with the kubelet's word (`remove`). Raises Conflict when the object isn't that of `uid`.

        `grace`: the seconds that a Pod gets in place of its own; with 0 nobody waits for its kubelet.
        """
        o = self.get(key)
        if o is None:
            return
        if uid and o.metadata["uid"] != uid:
            raise Conflict(
                f"{key}: the UID in the precondition is {uid}, that of the object {o.metadata['uid']}"
            )
        runs = key.type == POD and o.status.get("podIPs") and o.status.get("phase") not in _ENDED
        if not runs or grace == 0:
            self.remove(key)
        elif not o.metadata.get("deletionTimestamp"):
            own = o.spec.get("terminationGracePeriodSeconds", 30) if grace is None else grace
            self._mark(o, 30 if own is None else own)
        elif grace is not None and grace < o.metadata.get("deletionGracePeriodSeconds", 0):
            # Who asks again may give less time, never more (apiserver/pkg/registry/rest, `BeforeDelete`).
            self._write(key, o, o, {**o.metadata, "deletionGracePeriodSeconds": grace})

    def remove(self, key: Key) -> None:
        """Deletes the object at once, or once its finalizers let it go."""
        o = self.get(key)
        if o is None:
            return
        if is_held(o):
            if not is_marked(o):
                self._mark(o, 0)
            elif is_ended_by_kubelet(o):  # which has done so
                self._write(key, o, o, {**o.metadata, "deletionGracePeriodSeconds": 0})
            return
        self._forget(key)

    def _mark(self, o: Object, grace: int) -> None:
        deletion: dict[str, Any] = {"deletionTimestamp": timestamp()}
        if o.type == NAMESPACE:  # pkg/registry/core/namespace/storage
            marked = o.replace(status={**o.status, "phase": "Terminating"})
        else:
            marked, deletion["deletionGracePeriodSeconds"] = o, grace
        self._write(o.key, o, marked, {**o.metadata, **deletion})

    def _fresh_uid(self, key: Key, uid: str) -> str:
        """Controllers derive a Pod's uid from its name; one that takes a freed name must be another Pod."""
        if key in self._new_pods or key in self._pods_ever:
            return str(uuid.uuid5(_FRESH, f"{uid}/{self._version + 1}"))
        self._new_pods.add(key)
        return uid

    def _write(self, key: Key, old: Object | None, o: Object, metadata: Mapping[str, Any]) -> Object:
        """Puts the object there with this metadata, as the next version."""
        self._version += 1
        new = o.replace(metadata={**metadata, "resourceVersion": str(self._version)})
        self._writable(key[:2]).write(key, new)
        self._note(key, old)
        self._tell("MODIFIED" if old else "ADDED", new)
        return new

    def _writable(self, kind: tuple[str, str]) -> Version[Key, Object]:
        members = self._kinds.get(kind)
        if members is None:
            members = self._kinds[kind] = Version()
        if kind in self._shared:
            self._shared.discard(kind)
            members = self._kinds[kind] = members.next()
        return members

    def _note(self, key: Key, old: Object | None) -> None:
        if not self._changes.before:
            self._changes.since = perf_counter()
        self._changes.before.setdefault(key, old)
        self._changes.versions[key] = self._version

    def _tell(self, what: str, o: Object) -> None:
        self._snapshot = None
        self._history.announce(Event(what, o, self._version))

    # two stores

    def fork(self) -> Store:
        """A store of the same objects, to try changes on. Nobody watches it."""
        made = Store()
        made._snapshot = self.objects()
        made._kinds, made._shared = dict(self._kinds), set(self._kinds)
        made._version, made._pods_ever, made._facts = self._version, self._pods_ever, self._facts
        return made

    def adopt(self, fork: Store, base: Objects, partly: bool = False) -> bool:
        """Does here what was done on a fork since it had the objects `base`, each object once.

        Where nothing was changed here meanwhile, the fork's objects become the store's, so that whoever has worked with
        them knows them again. Else what was changed here is in the way of what the fork did: the part of an object (its
        status, or all else) that both have changed, and an object that is gone. Returns whether nothing was; else
        nothing is done, or (`partly`) all else.
        Changes that were made here meanwhile are what `take_changes` gives next: those of the fork are known already.
        """
        changes = fork.take_changes()
        changed = changes.before
        if self._snapshot is base:
            self._take_over(fork, changes)
            return True
        parts = [adoptable(base.get(key), self.get(key), fork.get(key)) for key in changed]
        free = all(part.free for part in parts)
        if not (free or partly):
            return False
        meanwhile, self._changes = self._changes, Changes()
        for key, part in zip(changed, parts, strict=True):
            self._adopt(key, part, fork.get(key))
        self._changes = Changes(
            {k: fork.get(k) for k in meanwhile.before}, meanwhile.versions, meanwhile.since
        )
        self._told |= fork._told
        return free

    def _take_over(self, fork: Store, changes: Changes) -> None:
        """Becomes what the fork is, and tells of each object's last change."""
        self._changes = Changes()
        self._snapshot = fork.objects()
        self._kinds, self._shared = fork._kinds, set(fork._kinds)
        self._version, self._pods_ever, self._new_pods = fork._version, fork._pods_ever, set()
        self._told |= fork._told
        for key, version in sorted(changes.versions.items(), key=lambda pair: pair[1]):
            old, new = changes.before[key], self.get(key)
            if new is not None:
                self._history.announce(Event("MODIFIED" if old else "ADDED", new, version))
            elif old is not None:
                gone = old.replace(metadata={**old.metadata, "resourceVersion": str(version)})
                self._history.announce(Event("DELETED", gone, version))

    def _adopt(self, key: Key, part: Adoptable, new: Object | None) -> None:
        if key.type == POD and key not in self._pods_ever:
            self._new_pods.add(key)
        if part.whole and new is None:
            self._forget(key)
        elif part.whole and new is not None:
            self._write(key, self.get(key), new, new.metadata)
        elif part.gone:
            self.delete(key)  # as it is now: a Pod that has begun to run meanwhile gets the time to end
        elif new is not None:
            if part.asked:
                self.put(new)
            if part.told:
                self.put_status(key, new.status)

    def revert(self, saved: Objects) -> None:
        """Makes all objects again what they were, by writing them anew. How a Pod is that is the same one isn't undone:
        that is the kubelet's to say."""
        there = {o.key: o for o in self.objects()}
        before = {o.key: o for o in saved}
        for key in there.keys() - before.keys():
            self._forget(key)
        for key, o in before.items():
            now = there.get(key)
            if now is o:
                continue
            if now is not None and key.type == POD and now.metadata["uid"] == o.metadata["uid"]:
                o = o.replace(status=now.status)
            self._write(key, now, o, o.metadata)

    def _forget(self, key: Key) -> None:
        """Removes the object, whatever its finalizers."""
        o = self._writable(key[:2]).remove(key)
        if o is not None:
            self._version += 1
            self._note(key, o)
            self._tell("DELETED", o.replace(metadata={**o.metadata, "resourceVersion": str(self._version)}))
