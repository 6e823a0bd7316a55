"""The history of StatefulSets and DaemonSets: a ControllerRevision for each template that one has had.

As in pkg/controller/history. The present template's has the highest number; a template that comes again gets its old
revision back, with a new number. Of those that no Pod has any more, as many stay as `revisionHistoryLimit` says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from emulab.cluster.controllers.names import controller_reference, new_uid
from emulab.cluster.controllers.world import WorkingCopy, owner_uid, uid
from emulab.kinds.registry import CONTROLLER_REVISION
from emulab.model.objects import Object

HISTORY_LIMIT = 10
"""A workload's `revisionHistoryLimit` when not given."""
_PATCH = "$patch"  # of a strategic merge patch, which a revision's data is: what is in the set's place


def keep(
    world: WorkingCopy, owner: Object, name: str, labels: Mapping[str, str], live: Collection[str]
) -> None:
    """Has the owner's present template under that name, as its last revision, and forgets the oldest ones.

    `labels`: what the revision has beside the template's. `live`: the names of revisions that Pods have.
    """
    known = world.owned(owner, CONTROLLER_REVISION)
    highest = max(map(number, known), default=0)
    present = next((revision for revision in known if revision.name == name), None)
    if present is None:
        key = CONTROLLER_REVISION.key(owner.namespace, name)
        if world.get(key) is None:  # else it is a stranger's
            world.put(_made(owner, name, labels, highest + 1))
    elif number(present) < highest:
        world.put(Object({**present.raw, "revision": highest + 1}, present.position))
    old = sorted((r for r in known if r.name != name and r.name not in live), key=number)
    limit = owner.spec.get("revisionHistoryLimit")
    for revision in old[: max(0, len(old) - (HISTORY_LIMIT if limit is None else int(limit)))]:
        world.delete(revision)


def number(revision: Object) -> int:
    return int(revision.raw.get("revision") or 0)


def template_of(world: WorkingCopy, owner: Object, name: str) -> Mapping[str, Any] | None:
    """The template that a revision of an owner has kept."""
    revision = world.get(CONTROLLER_REVISION.key(owner.namespace, name))
    if revision is None or owner_uid(revision) != uid(owner):
        return None
    kept = ((revision.raw.get("data") or {}).get("spec") or {}).get("template") or {}
    return {field: value for field, value in kept.items() if field != _PATCH}


def _made(owner: Object, name: str, labels: Mapping[str, str], revision: int) -> Object:
    template = owner.spec.get("template") or {}
    key = CONTROLLER_REVISION.key(owner.namespace, name)
    metadata = {
        "name": name,
        "namespace": owner.namespace,
        "labels": {**((template.get("metadata") or {}).get("labels") or {}), **labels},
        **({"annotations": dict(owner.annotations)} if owner.annotations else {}),
        "ownerReferences": [controller_reference(owner)],
        "uid": new_uid(key, uid(owner)),
    }
    data = {"spec": {"template": {**template, _PATCH: "replace"}}}
    raw = {"apiVersion": "apps/v1", "kind": CONTROLLER_REVISION.kind, "metadata": metadata}
    return Object({**raw, "data": data, "revision": revision})
