"""Claims that a StatefulSet makes for each of its Pods: pkg/controller/statefulset (stateful_set_utils.go).

They stay when the Pod goes, and when the set does, unless the set says otherwise (KEP-1847): then the Pod, or the set,
is their owner, with which they go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.cluster.admission.newcomer import as_admitted
from emulab.cluster.controllers.names import controller_reference
from emulab.cluster.controllers.storage.ephemeral import claim_object
from emulab.cluster.controllers.telling import Words
from emulab.cluster.controllers.world import WorkingCopy, uid
from emulab.kinds.registry import PERSISTENT_VOLUME_CLAIM
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object


def claims_of_pod(owner: Object, pod: str) -> Mapping[str, str]:
    """The names of the claims of a Pod by the volumes that they are behind."""
    templates = owner.spec.get("volumeClaimTemplates") or ()
    return {t["metadata"]["name"]: f"{t['metadata']['name']}-{pod}" for t in templates}


def with_claims(owner: Object, pod: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """A Pod's spec in which the volumes of these names are the claims."""
    claims = claims_of_pod(owner, pod)
    if not claims:
        return spec
    others = [v for v in spec.get("volumes") or () if v["name"] not in claims]
    own = [{"name": v, "persistentVolumeClaim": {"claimName": name}} for v, name in claims.items()]
    return {**spec, "volumes": [*own, *others]}


def make_claims(world: WorkingCopy, owner: Object, pod: str, words: Words) -> bool:
    """Makes the claims of a Pod that aren't there. False where an API server would refuse one."""
    for template in owner.spec.get("volumeClaimTemplates") or ():
        claim = _claim(owner, template, pod)
        if world.get(claim.key) is not None:
            continue
        claim, why = as_admitted(world, claim)
        which = f"Claim {claim.name}"
        if why:
            message = f"create {which} for Pod {pod} in StatefulSet {owner.name} failed error: {why}"
            if world.refusals.get(uid(owner)) != why:
                world.tell(Tell(owner, WARNING, "FailedCreate", message, words.component))
            world.refusals[uid(owner)] = why
            return False
        world.put(claim)
        message = f"create {which} Pod {pod} in StatefulSet {owner.name} success"
        world.tell(Tell(owner, NORMAL, "SuccessfulCreate", message, words.component))
    return True


def _claim(owner: Object, template: Mapping[str, Any], pod: str) -> Object:
    given = template["metadata"]
    key = PERSISTENT_VOLUME_CLAIM.key(owner.namespace, f"{given['name']}-{pod}")
    selected = (owner.spec.get("selector") or {}).get("matchLabels") or {}
    # Its uid is the store's to give: a claim that is made anew is another one, with another volume.
    metadata: dict[str, Any] = {
        "name": key.name,
        "namespace": key.namespace,
        "labels": {**(given.get("labels") or {}), **selected},
    }
    if given.get("annotations"):
        metadata["annotations"] = given["annotations"]
    if _policy(owner, "whenDeleted") == "Delete":
        metadata["ownerReferences"] = [controller_reference(owner)]
    return claim_object(metadata, template["spec"])


def _policy(owner: Object, field: str) -> str:
    return str((owner.spec.get("persistentVolumeClaimRetentionPolicy") or {}).get(field) or "Retain")


def give_to_pod(world: WorkingCopy, owner: Object, pod: Object) -> None:
    """Before a Pod goes for which there is no place any more: its claims go with it, if the set says so."""
    if _policy(owner, "whenScaled") != "Delete":
        return
    for name in claims_of_pod(owner, pod.name).values():
        claim = world.get(PERSISTENT_VOLUME_CLAIM.key(owner.namespace, name))
        if claim is not None:
            metadata = {**claim.metadata, "ownerReferences": [controller_reference(pod)]}
            world.put(claim.replace(metadata=metadata))
