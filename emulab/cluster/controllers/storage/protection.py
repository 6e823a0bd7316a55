"""Claims stay until no Pod uses them, and volumes until no claim is bound to them.

pkg/controller/volume/pvcprotection and pvprotection: both have a finalizer, which goes when they are to be deleted and
nobody uses them any more.
"""

from __future__ import annotations

from emulab.cluster.controllers.pods import has_ended
from emulab.cluster.controllers.storage.binding import has_claim
from emulab.cluster.controllers.storage.pods import claims_of
from emulab.cluster.controllers.world import WorkingCopy
from emulab.kinds.core.persistentvolume import PROTECTION as OF_VOLUMES
from emulab.kinds.core.persistentvolumeclaim import PROTECTION as OF_CLAIMS
from emulab.kinds.registry import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD
from emulab.model.objects import Object


def protect(world: WorkingCopy) -> None:
    claims = world.kind(PERSISTENT_VOLUME_CLAIM)
    if any(o.metadata.get("deletionTimestamp") for o in claims):
        used = _used(world)
    else:
        used = set()
    for claim in claims:
        _give(world, claim, OF_CLAIMS, (claim.namespace, claim.name) in used)
    for volume in world.kind(PERSISTENT_VOLUME):
        _give(world, volume, OF_VOLUMES, has_claim(world, volume))


def _used(world: WorkingCopy) -> set[tuple[str, str]]:
    """The claims of Pods that haven't ended."""
    found: set[tuple[str, str]] = set()
    for key, names in world.facts(POD, claims_of).items():
        pod = world.get(key)
        if pod is not None and not has_ended(pod):
            found |= {(key.namespace, name) for name in names}
    return found


def _give(world: WorkingCopy, o: Object, finalizer: str, used: bool) -> None:
    """One that lives has the finalizer, one that is to go as long as it is used."""
    there = list(o.metadata.get("finalizers") or ())
    ending = bool(o.metadata.get("deletionTimestamp"))
    if not ending and finalizer not in there:
        world.put(o.replace(metadata={**o.metadata, "finalizers": [*there, finalizer]}))
    elif ending and not used and finalizer in there:
        left = [name for name in there if name != finalizer]
        metadata = {**o.metadata, "finalizers": left}
        if not left:
            del metadata["finalizers"]
        world.put(o.replace(metadata=metadata))
