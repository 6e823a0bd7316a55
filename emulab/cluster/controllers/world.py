"""The working copy that the controllers of one call share.

Rules:

* `put` and `delete` act on the copy at once, so a later controller sees them; `changes` tells the store.
* Changes are told once an object, as the difference between what came in and what is there at the end:
  ten writes of one Pod are one `Put`, and a write that changes nothing is none.
* A deleted Pod stays visible with a `deletionTimestamp`, as it will in the store until its containers ended.
* Objects are never changed in place: callers put new ones that share what stayed the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from emulab.kinds.registry import POD
from emulab.model.collection import Change, Delete, Objects, Put
from emulab.model.keys import GroupKind, Key
from emulab.model.objects import Object


def rfc3339(seconds: float) -> str:
    """Unix time as Kubernetes writes it in objects: whole seconds, UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix_time(stamp: object) -> float | None:
    """The inverse of `rfc3339`, fractions allowed; None where no time is given."""
    if isinstance(stamp, datetime):  # YAML reads an unquoted timestamp as one
        return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
    return datetime.fromisoformat(stamp).timestamp() if isinstance(stamp, str) and stamp else None


def owner_uid(o: Object) -> str:
    """The uid of the object's controller owner; empty when it has none."""
    for reference in o.metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference.get("uid") or "")
    return ""


def uid(o: Object) -> str:
    return str(o.metadata.get("uid") or "")


_NOTHING: dict[Key, Object] = {}


class World:
    """A changeable copy of the lab's objects, indexed by kind, key and owner."""

    def __init__(self, objects: Objects, now: float) -> None:
        self.now = now
        self.pods_ever = objects.pods_ever
        self.counts: dict[
            str, Any
        ] = {}  # by owner's uid: what `pods` counted; forgotten when a child changes
        self.once: dict[str, Any] = {}  # by uid: what was found out and holds for the whole call
        self._before: dict[Key, Object | None] = {}  # what came in, of the keys touched, in order of touching
        self._deleted: set[Key] = set()
        self._kinds = {kind: dict(members) for kind, members in objects.by_kind()}
        self._owned: dict[str, dict[Key, Object]] = {}
        for members in self._kinds.values():
            for key, o in members.items():
                self._own(key, o)

    def kind(self, kind: GroupKind) -> list[Object]:
        """All objects of a kind, in the store's order, new ones last."""
        return list(self._kinds.get(kind, {}).values())

    def all(self) -> list[Object]:
        """All objects, kind by kind."""
        return [o for members in self._kinds.values() for o in members.values()]

    def get(self, key: Key) -> Object | None:
        return self._kinds.get(key[:2], {}).get(key)

    def owned(self, owner: Object, kind: GroupKind) -> list[Object]:
        """The objects of a kind whose controller is `owner`."""
        group, name = kind
        owned = self._owned.get(uid(owner), _NOTHING)
        return [o for key, o in owned.items() if key[1] == name and key[0] == group]

    def owners(self) -> dict[str, dict[Key, Object]]:
        """Owner's uid → its objects. Not to be changed."""
        return self._owned

    def put(self, o: Object) -> Object:
        """Creates or replaces an object in the copy, and returns it."""
        key = o.key
        old = self.get(key)
        if old is not None and old.raw == o.raw:
            return old
        self._before.setdefault(key, old)
        self._deleted.discard(key)
        self._remove(key, old)
        self._insert(key, o)
        return o

    def delete(self, o: Object) -> None:
        """Deletes an object; one that is already ending is left alone."""
        key = o.key
        if key in self._deleted or o.metadata.get("deletionTimestamp"):
            return
        was_stored = self._before.setdefault(key, self.get(key)) is not None
        self._deleted.add(key)
        old = self.get(key)
        if key.type == POD and was_stored:
            ending = {**o.metadata, "deletionTimestamp": rfc3339(self.now)}
            self._remove(key, old)
            self._insert(key, o.replace(metadata=ending))
        else:
            self._remove(key, old)
            del self._kinds[key[:2]][key]

    def changes(self) -> list[Change]:
        """What the store has to do, each object once, in the order in which they were first touched."""
        changes: list[Change] = []
        for key, old in self._before.items():
            current = self.get(key)
            if key in self._deleted:
                if old is not None:
                    changes.append(Delete(key))
            elif current is not None and (old is None or old.raw != current.raw):
                changes.append(Put(current))
        return changes

    def _insert(self, key: Key, o: Object) -> None:
        self._kinds.setdefault(key[:2], {})[key] = o
        self._own(key, o)

    def _own(self, key: Key, o: Object) -> None:
        if "ownerReferences" in o.metadata and (owner := owner_uid(o)):
            self._owned.setdefault(owner, {})[key] = o
            self.counts.pop(owner, None)

    def _remove(self, key: Key, old: Object | None) -> None:
        """Forgets the owner of what was there; its place among its kind stays, so that order does."""
        if old is not None and (owner := owner_uid(old)):
            self._owned[owner].pop(key, None)
            self.counts.pop(owner, None)
