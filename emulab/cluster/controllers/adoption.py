"""Who controls what a selector chooses: pkg/controller/controller_ref_manager.go.

A workload adopts Pods, a Deployment ReplicaSets, and those that have a history its revisions, where these have its
labels and no controller: what another one was deleted without (`--cascade=orphan`), or what a user has made. It lets go
of those that have its labels no more, so that a Pod that is given other ones lives on beside the one in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.cluster.controllers.batch import TRACKING
from emulab.cluster.controllers.names import controller_reference
from emulab.cluster.controllers.pods import has_ended
from emulab.cluster.controllers.world import WorkingCopy, owner_uid, uid
from emulab.kinds.kind import WORKLOAD, Kind
from emulab.kinds.registry import CONTROLLER_REVISION, DEPLOYMENT, JOB, KINDS, POD, REPLICA_SET, STATEFUL_SET
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.model.selectors import label_selector_of, matches_selector

_OVER = ("Complete", "Failed")  # conditions of Jobs that want nothing any more


class _Selecting(NamedTuple):
    """A workload that may adopt and let go."""

    uid: str
    selector: Mapping[str, Any]


class _Chosen(NamedTuple):
    """What may be adopted or let go: the uid of its controller, or "", and its labels."""

    owner: str
    labels: Mapping[str, str]


def claim(world: WorkingCopy) -> None:
    """Adopts and lets go."""
    others = [kind for kind in (*KINDS.of(WORKLOAD), JOB) if kind != DEPLOYMENT]
    rolling = [kind for kind in others if kind.definition.rollout is not None]
    for kinds, child in (([DEPLOYMENT], REPLICA_SET), (others, POD), (rolling, CONTROLLER_REVISION)):
        _claim(world, kinds, child)


def _claim(world: WorkingCopy, kinds: Sequence[Kind], child: Kind) -> None:
    by_uid: dict[str, _Selecting] = {}
    by_namespace: dict[str, list[tuple[Key, _Selecting]]] = {}
    for kind in kinds:
        for key, one in world.facts(kind, _selecting).items():
            by_uid[one.uid] = one
            by_namespace.setdefault(key.namespace, []).append((key, one))
    if not by_uid:
        return
    for key, (owner, labels) in list(world.facts(child, _chosen).items()):
        if owner:
            known = by_uid.get(owner)
            if known is not None and not matches_selector(known.selector, labels):
                _let_go(world, key, owner)
        else:
            for candidate, one in by_namespace.get(key.namespace, ()):
                if matches_selector(one.selector, labels) and _adopt(world, candidate, key):
                    break


def _selecting(o: Object) -> _Selecting | None:
    selector = label_selector_of(o.spec)
    chooses = selector.get("matchLabels") or selector.get("matchExpressions")
    if not chooses or o.metadata.get("deletionTimestamp") or (o.type == JOB and any(_over(o))):
        return None
    return _Selecting(uid(o), selector)


def _over(job: Object) -> Iterator[bool]:
    for condition in job.status.get("conditions") or ():
        yield condition.get("type") in _OVER and condition.get("status") == "True"


def _chosen(o: Object) -> _Chosen | None:
    return None if o.metadata.get("deletionTimestamp") else _Chosen(owner_uid(o), o.labels)


def _adopt(world: WorkingCopy, owner: Key, key: Key) -> bool:
    """Whether the owner takes it."""
    controller, o = world.get(owner), world.get(key)
    if controller is None or o is None or world.is_over(controller) or not _suits(controller, o):
        return False
    references = [*(o.metadata.get("ownerReferences") or ()), controller_reference(controller)]
    metadata = {**o.metadata, "ownerReferences": references}
    if controller.type == JOB:
        metadata["finalizers"] = [*(o.metadata.get("finalizers") or ()), TRACKING]
    world.put(o.replace(metadata=metadata))
    return True


def _suits(controller: Object, o: Object) -> bool:
    """A StatefulSet takes Pods of its names alone, and what has ended is a Job's matter."""
    if controller.type == STATEFUL_SET and o.type == POD:
        base, _, ordinal = o.name.rpartition("-")
        return base == controller.name and ordinal.isdecimal()
    return controller.type == JOB or o.type != POD or not has_ended(o)


def _let_go(world: WorkingCopy, key: Key, owner: str) -> None:
    o = world.get(key)
    if o is None:
        return
    left = [reference for reference in o.metadata["ownerReferences"] if reference.get("uid") != owner]
    metadata = {name: value for name, value in o.metadata.items() if name != "ownerReferences"}
    world.put(o.replace(metadata={**metadata, **({"ownerReferences": left} if left else {})}))
