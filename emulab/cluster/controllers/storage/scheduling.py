"""What volumes say of a Pod's node: the scheduler's plugins VolumeBinding and VolumeRestrictions, in their words."""

from __future__ import annotations

from collections.abc import Callable

from emulab.cluster.controllers.pods import has_ended
from emulab.cluster.controllers.storage import binding
from emulab.cluster.controllers.storage.pods import claims_of
from emulab.cluster.controllers.world import WorkingCopy
from emulab.kinds.core.volumespec import EPHEMERAL
from emulab.kinds.registry import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD
from emulab.model.objects import Object

ELSEWHERE = "node(s) had volume node affinity conflict"
NONE_FREE = "node(s) didn't find available persistent volumes to bind"
IN_USE = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
NodeVeto = Callable[[Object], str | None]


def refusal(world: WorkingCopy, pod: Object) -> str:
    """Why no node can take the Pod yet; "" where one may."""
    for name in claims_of(pod) or ():
        claim = world.get(PERSISTENT_VOLUME_CLAIM.key(pod.namespace, name))
        if claim is None:
            own = any(EPHEMERAL in v and name == f"{pod.name}-{v['name']}" for v in pod.spec["volumes"])
            made = "waiting for ephemeral volume controller to create the persistentvolumeclaim"
            return f'{made} "{name}"' if own else f'persistentvolumeclaim "{name}" not found'
        if claim.metadata.get("deletionTimestamp"):
            return f'persistentvolumeclaim "{name}" is being deleted'
        if claim.status.get("phase") == "Lost":
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume'
        if claim.status.get("phase") != "Bound" and not binding.waits(world, claim):
            return "pod has unbound immediate PersistentVolumeClaims"
    return ""


def vetoes(world: WorkingCopy, pod: Object) -> list[NodeVeto]:
    """What of the Pod's claims refuses nodes."""
    return [_veto(world, pod, name) for name in claims_of(pod) or ()]


def _veto(world: WorkingCopy, pod: Object, name: str) -> NodeVeto:
    claim = world.get(PERSISTENT_VOLUME_CLAIM.key(pod.namespace, name))
    assert claim is not None, "a Pod without its claims is refused before"
    volume = world.get(PERSISTENT_VOLUME.key("", str(claim.spec.get("volumeName") or "")))
    alone = "ReadWriteOncePod" in (claim.spec.get("accessModes") or ()) and _is_used(world, pod, name)
    storage_class = binding.class_of(world, claim)
    made = storage_class is not None and binding.provisions(storage_class)

    def veto(node: Object) -> str | None:
        if alone:
            return IN_USE
        if volume is not None:
            return None if binding.is_on(volume, node) else ELSEWHERE
        return None if made or binding.matching(world, claim, node) is not None else NONE_FREE

    return veto


def _is_used(world: WorkingCopy, pod: Object, name: str) -> bool:
    """Whether another Pod that has a node uses the claim."""
    others = world.facts(POD, claims_of).items()
    keys = [
        key for key, names in others if name in names and key.namespace == pod.namespace and key != pod.key
    ]
    there = (world.get(key) for key in keys)
    return any(o is not None and o.spec.get("nodeName") and not has_ended(o) for o in there)
