"""The working copy that the controllers of one call share.

Rules:

* `put` and `delete` act on the copy at once, so a later controller sees them; `changes` tells the store.
* Changes are told once an object, as the difference between what came in and what is there at the end:
  ten writes of one Pod are one `Put`, and a write that changes nothing is none.
* A deleted Pod stays visible with a `deletionTimestamp`, as it will in the store until its containers ended.
* Objects are never changed in place: callers put new ones that share what stayed the same.
* It is noted what each controller reads, whatever way it does: one that had nothing to do has nothing to do either as
  long as all of that is the very same (`Read`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from emulab.kinds.core.namespace import is_ending
from emulab.kinds.registry import NAMESPACE, POD
from emulab.model.collection import Change, Delete, Objects, Put, PutStatus, Tell
from emulab.model.keys import GroupKind, Key
from emulab.model.members import Members
from emulab.model.objects import Object

T = TypeVar("T")


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


def _owner(o: Object) -> str | None:
    return owner_uid(o) or None


def _owned_by(objects: Objects) -> dict[str, dict[Key, Object]]:
    """Owner's uid → its objects. Not to be changed: it serves as long as no object that has an owner changes."""
    owners = [(members, objects.facts(kind, _owner)) for kind, members in objects.by_kind()]

    def make() -> dict[str, dict[Key, Object]]:
        found: dict[str, dict[Key, Object]] = {}
        for members, owner_of in owners:
            for key, owner in owner_of.items():
                found.setdefault(owner, {})[key] = members[key]
        return found

    # With an object that has an owner the answers of its kind change, too: they are another mapping then.
    return objects.made("owners", tuple(owner_of for _, owner_of in owners), make)


_SINGLE = 64
"""Objects of a kind that are noted one by one; who reads more has read all."""

FactOf = Callable[[Object], Any]


class Read:
    """What of a kind was read: all of it, or what was found out about its objects, and single ones."""

    __slots__ = ("answers", "members", "single", "whole")

    def __init__(self, members: Members) -> None:
        self.members = members
        self.whole = False
        self.answers: dict[FactOf, Mapping[Key, Any]] = {}
        self.single: dict[Key, Object | None] = {}

    def is_as(self, kind: tuple[str, str], objects: Objects) -> bool:
        """Whether it would be the very same of these objects."""
        group_kind = GroupKind(*kind)
        if objects.members(group_kind) is self.members:
            return True
        return (
            not self.whole
            and all(objects.get(key) is o for key, o in self.single.items())
            and all(objects.facts(group_kind, ask) is known for ask, known in self.answers.items())
        )

    def add(self, other: Read) -> None:
        """Notes what was read another time, too."""
        self.whole = self.whole or other.whole
        self.answers |= other.answers
        self.single |= other.single


_EVERY = ("", "")
"""In place of a kind, where it was read which kinds there are."""


class ReadKinds(Read):
    """Which kinds there were: whoever looks at all of them has to look again when there is another one."""

    __slots__ = ("kinds",)

    def __init__(self, objects: Objects) -> None:
        super().__init__({})
        self.kinds = frozenset(kind for kind, _ in objects.by_kind())

    def is_as(self, kind: tuple[str, str], objects: Objects) -> bool:
        return self.kinds == frozenset(kind for kind, _ in objects.by_kind())


Reads = Mapping[tuple[str, str], Read]
"""By kind."""


class WorkingCopy:
    """A changeable copy of the lab's objects, indexed by kind, key and owner. What isn't changed isn't copied."""

    def __init__(self, objects: Objects, now: float) -> None:
        self.now = now
        self.pods_ever = objects.pods_ever
        self.counts: dict[
            str, Any
        ] = {}  # by owner's uid: what `pods` counted; forgotten when a child changes
        self._once: dict[str, tuple[Any, Reads]] = {}
        self._read: dict[tuple[str, str], Read] = {}
        self._objects = objects
        self._before: dict[Key, Object | None] = {}  # what came in, of the keys touched, in order of touching
        self._deleted: set[Key] = set()
        self._told: list[Tell] = []
        self.refusals: dict[str, str] = {}  # by owner's uid: why a Pod of its couldn't be made
        self._copied: dict[tuple[str, str], dict[Key, Object]] = {}  # kinds of which an object was touched
        self._owned_then: Mapping[str, dict[Key, Object]] | None = None
        self._owned: dict[str, dict[Key, Object]] = {}  # of owners of whom an object was touched

    def read(self, kind: tuple[str, str]) -> None:
        """Notes that somebody reads a kind, or something that was made of it."""
        self._note(kind).whole = True

    def _note(self, kind: tuple[str, str]) -> Read:
        read = self._read.get(kind)
        if read is None:
            read = self._read[kind] = Read(self._objects.members(GroupKind(*kind)))
        return read

    def _note_answers(self, kind: GroupKind, ask: FactOf) -> None:
        self._note(kind).answers[ask] = self._objects.facts(kind, ask)

    def take_read(self) -> Reads:
        """What was read since this was asked last, as it came in."""
        read, self._read = self._read, {}
        return read

    def is_as(self, reads: Reads) -> bool:
        """Whether what was read another time is the very same here, and nobody has touched such kinds yet."""
        objects = self._objects
        return all(kind not in self._copied and read.is_as(kind, objects) for kind, read in reads.items())

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` finds out, which holds for the whole call."""
        if name not in self._once:
            outer, self._read = self._read, {}
            self._once[name] = make(), self._read
            self._read = outer
        made: T
        made, reads = self._once[name]
        for kind, read in reads.items():
            self._read.setdefault(kind, read).add(read)
        return made

    def kind(self, kind: GroupKind) -> list[Object]:
        """All objects of a kind, in the store's order, new ones last."""
        return list(self._members(kind).values())

    def all(self) -> list[Object]:
        """All objects, kind by kind."""
        kinds = self._kinds()
        return [o for kind in kinds for o in self._members(kind).values()]

    def get(self, key: Key) -> Object | None:
        read = self._note(key[:2])
        if len(read.single) < _SINGLE:
            read.single[key] = self._objects.get(key)
        else:
            read.whole = True
        return self._now(key[:2]).get(key)

    def facts(self, kind: GroupKind, ask: Callable[[Object], T | None]) -> Mapping[Key, T]:
        """What `ask` says of each object of a kind as it is now, without None. Not to be changed."""
        self._note_answers(kind, ask)
        known = self._objects.facts(kind, ask)
        touched = [key for key in self._before if key[:2] == kind] if kind in self._copied else ()
        if not touched:
            return known
        now = dict(known)
        for key in touched:
            o = self.get(key)
            answer = None if o is None else ask(o)
            if answer is None:
                now.pop(key, None)
            else:
                now[key] = answer
        return now

    def facts_of_all(self, ask: Callable[[Object], T | None]) -> dict[Key, T]:
        """What `ask` says of each object of any kind, without None."""
        found: dict[Key, T] = {}
        for kind in self._kinds():
            found |= self.facts(GroupKind(*kind), ask)
        return found

    def owned(self, owner: Object, kind: GroupKind) -> list[Object]:
        """The objects of a kind whose controller is `owner`."""
        self._note_answers(kind, _owner)
        return [o for key, o in self._group(uid(owner)).items() if key[:2] == kind]

    def owners(self) -> dict[str, dict[Key, Object]]:
        """Owner's uid → its objects. Not to be changed."""
        for kind in self._kinds():
            self._note_answers(GroupKind(*kind), _owner)
        return {**self._owned_before, **self._owned}

    def _kinds(self) -> Iterable[tuple[str, str]]:
        if _EVERY not in self._read:
            self._read[_EVERY] = ReadKinds(self._objects)
        return dict.fromkeys((*(kind for kind, _ in self._objects.by_kind()), *self._copied))

    def _members(self, kind: tuple[str, str]) -> Mapping[Key, Object]:
        self.read(kind)
        return self._now(kind)

    def _now(self, kind: tuple[str, str]) -> Mapping[Key, Object]:
        copied = self._copied.get(kind)
        return self._objects.members(GroupKind(*kind)) if copied is None else copied

    @property
    def _owned_before(self) -> Mapping[str, dict[Key, Object]]:
        """Owner's uid → its objects, as they came in."""
        if self._owned_then is None:
            self._owned_then = _owned_by(self._objects)
        return self._owned_then

    def _group(self, owner: str) -> Mapping[Key, Object]:
        known = self._owned.get(owner)
        return self._owned_before.get(owner, _NOTHING) if known is None else known

    def is_over(self, o: Object) -> bool:
        """Whether it is ending, or its Namespace is, so that nothing new is made for it: an API server would refuse."""
        return bool(o.metadata.get("deletionTimestamp")) or o.namespace in self.ending

    @property
    def ending(self) -> frozenset[str]:
        """The names of Namespaces that are ending."""
        return self.once("ending", lambda: frozenset(n.name for n in self.kind(NAMESPACE) if is_ending(n)))

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

    def delete(self, o: Object) -> bool:
        """Deletes an object; one that is already ending is left alone. Whether there was one to delete."""
        key = o.key
        if key in self._deleted or o.metadata.get("deletionTimestamp"):
            return False
        was_stored = self._before.setdefault(key, self.get(key)) is not None
        self._deleted.add(key)
        old = self.get(key)
        if key.type == POD and was_stored:
            ending = {**o.metadata, "deletionTimestamp": rfc3339(self.now)}
            self._remove(key, old)
            self._insert(key, o.replace(metadata=ending))
        else:
            self._remove(key, old)
            del self._writable(key[:2])[key]
        return True

    def tell(self, told: Tell) -> None:
        """Tells what happened. It comes behind all changes, when they are made."""
        self._told.append(told)

    def changes(self) -> list[Change]:
        """What the store has to do, each object once, in the order in which they were first touched."""
        changes: list[Change] = []
        for key, old in self._before.items():
            current = self.get(key)
            if key in self._deleted:
                if old is not None:
                    changes.append(Delete(key))
            elif current is not None:
                changes += _written(key, old, current)
        return [*changes, *self._told]

    def _insert(self, key: Key, o: Object) -> None:
        self._writable(key[:2])[key] = o
        if "ownerReferences" in o.metadata and (owner := owner_uid(o)):
            self._writable_group(owner)[key] = o
            self.counts.pop(owner, None)

    def _remove(self, key: Key, old: Object | None) -> None:
        """Forgets the owner of what was there; its place among its kind stays, so that order does."""
        if old is not None and (owner := owner_uid(old)):
            self._writable_group(owner).pop(key, None)
            self.counts.pop(owner, None)

    def _writable(self, kind: tuple[str, str]) -> dict[Key, Object]:
        if kind not in self._copied:
            self._copied[kind] = dict(self._objects.members(GroupKind(*kind)))
        return self._copied[kind]

    def _writable_group(self, owner: str) -> dict[Key, Object]:
        if owner not in self._owned:
            self._owned[owner] = dict(self._owned_before.get(owner, _NOTHING))
        return self._owned[owner]


def _written(key: Key, old: Object | None, new: Object) -> list[Change]:
    """What makes `new` of `old`: its status is a write of its own."""
    changes: list[Change] = []
    if old is None or any(new.raw.get(f) != old.raw.get(f) for f in {*new.raw, *old.raw} - {"status"}):
        changes.append(Put(new))
    if new.status != (old.status if old else {}) and not _is_let_go(old, new):
        changes.append(PutStatus(key, new.status))
    return changes


def _is_let_go(old: Object | None, new: Object) -> bool:
    """Whether the object goes with this write: nobody has a finalizer on it any more."""
    return bool(
        old is not None
        and old.metadata.get("deletionTimestamp")
        and old.metadata.get("finalizers")
        and not new.metadata.get("finalizers")
    )
