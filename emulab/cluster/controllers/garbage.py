"""Garbage collection: pkg/controller/garbagecollector.

An object goes when the controller that its `ownerReferences` name (by uid: a namesake is another) is gone. One that is
deleted in the foreground takes those that it owns with it first, and goes when they are gone.
"""

from __future__ import annotations

from emulab.cluster.admission.deletion import FOREGROUND_DELETION
from emulab.cluster.controllers.world import WorkingCopy, rfc3339, uid
from emulab.model.keys import Key, group_kind
from emulab.model.objects import Object


def collect(world: WorkingCopy) -> None:
    """Deletes what lost its owner, owners before what they own; and before owners that wait for it."""
    for key in world.facts_of_all(_waits_for_owned):
        _end_after_owned(world, key)
    lost = [owner for owner, owned in world.owners().items() if owned and not _lives(world, owner, owned)]
    while lost:
        for o in list(world.owners().get(lost.pop(), {}).values()):
            world.delete(o)
            if world.get(o.key) is None:  # a Pod stays for a while, and owns nothing
                lost.append(uid(o))


def _waits_for_owned(o: Object) -> bool | None:
    metadata = o.metadata
    waits = "deletionTimestamp" in metadata and FOREGROUND_DELETION in (metadata.get("finalizers") or ())
    return True if waits else None


def _end_after_owned(world: WorkingCopy, key: Key) -> None:
    """Deletes what an object owns, that in the foreground, too; lets the object go where there is nothing left."""
    o = world.get(key)
    if o is None:
        return
    owners = world.owners()
    for one in list(owners.get(uid(o), {}).values()):
        if not owners.get(uid(one)):
            world.delete(one)
        elif not one.metadata.get("deletionTimestamp"):
            finalizers = [*(one.metadata.get("finalizers") or ()), FOREGROUND_DELETION]
            marked = {"deletionTimestamp": rfc3339(world.now), "deletionGracePeriodSeconds": 0}
            world.put(one.replace(metadata={**one.metadata, **marked, "finalizers": finalizers}))
    if not world.owners().get(uid(o)):
        left = [finalizer for finalizer in o.metadata["finalizers"] if finalizer != FOREGROUND_DELETION]
        world.put(o.replace(metadata={**o.metadata, "finalizers": left}))


def _lives(world: WorkingCopy, owner: str, owned: dict[Key, Object]) -> bool:
    """Whether the owner is there: under the name in a reference to it, or, badly referred to, anywhere."""
    some = next(iter(owned.values()))
    for reference in some.metadata["ownerReferences"]:
        name = reference.get("name", "")
        kind = group_kind(reference.get("apiVersion", ""), reference.get("kind", ""))
        for namespace in (some.namespace, ""):
            candidate = world.get(kind.key(namespace, name))
            if candidate is not None and uid(candidate) == owner:
                return True
    return any(uid(o) == owner for o in world.all())
