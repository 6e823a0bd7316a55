"""Garbage collection: pkg/controller/garbagecollector, in the background mode.

An object goes when the controller that its `ownerReferences` name (by uid: a namesake is another) is gone.
"""

from __future__ import annotations

from emulab.cluster.controllers.world import WorkingCopy, uid
from emulab.model.keys import Key, group_kind
from emulab.model.objects import Object


def collect(world: WorkingCopy) -> None:
    """Deletes what lost its owner, owners before what they own."""
    lost = [owner for owner, owned in world.owners().items() if owned and not _lives(world, owner, owned)]
    while lost:
        for o in list(world.owners().get(lost.pop(), {}).values()):
            world.delete(o)
            if world.get(o.key) is None:  # a Pod stays for a while, and owns nothing
                lost.append(uid(o))


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
