"""Claims get volumes: pkg/controller/volume/persistentvolume, with a provisioner for every class.

A claim is bound to the smallest volume that there is of its class and has what it asks for; where there is none, to a
new one, if its class has a provisioner, whichever that is. A class that waits for a consumer has claims bound when a
Pod that uses them has its node. A new volume that one node at a time may write to stays on that node, as those of local
provisioners do; one for several nodes is on all of them.
"""

from __future__ import annotations

from typing import Any

from emulab.cluster.controllers.names import new_uid
from emulab.cluster.controllers.placement import fits_term, node_label
from emulab.cluster.controllers.pods import is_active
from emulab.cluster.controllers.storage.pods import claims_of
from emulab.cluster.controllers.world import WorkingCopy, uid
from emulab.kinds.registry import NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS
from emulab.kinds.storage.storageclass import NO_PROVISIONER, WAITS, default_of
from emulab.kinds.storage.vendorclasses import VENDOR_CLASSES, vendor_class
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object
from emulab.model.quantity import parse_quantity
from emulab.model.selectors import matches_selector

COMPONENT = "persistentvolume-controller"
DRIVER = "emulab.dev/folder"
"""The provisioner of the class that every lab has, and the driver of all volumes that are made."""
_WAS_CLASS = "volume.beta.kubernetes.io/storage-class"
_HOST = "kubernetes.io/hostname"
_SHARED = ("ReadWriteMany", "ReadOnlyMany")


def bind(world: WorkingCopy) -> None:
    """Binds what need not wait, and says of claims and volumes how they are."""
    for claim in world.kind(PERSISTENT_VOLUME_CLAIM):
        if not claim.metadata.get("deletionTimestamp"):
            claim = _with_class(world, claim)
            if not _is_bound(world, claim):
                _bind_now(world, claim)
            else:
                _grow(world, claim)
    for volume in world.kind(PERSISTENT_VOLUME):
        _report(world, volume)


def bind_for_pods(world: WorkingCopy) -> None:
    """Binds claims whose class waits for a Pod to have its node."""
    for key in world.facts(POD, claims_of):
        pod = world.get(key)
        if pod is not None and pod.spec.get("nodeName") and is_active(pod):
            bind_for(world, pod)


def bind_for(world: WorkingCopy, pod: Object) -> None:
    """Binds the claims of a Pod that has a node."""
    node = world.get(NODE.key("", str(pod.spec.get("nodeName"))))
    for name in claims_of(pod) or ():
        claim = world.get(PERSISTENT_VOLUME_CLAIM.key(pod.namespace, name))
        if node is None or claim is None or claim.metadata.get("deletionTimestamp"):
            continue
        claim = _with_class(world, claim)
        if not _is_bound(world, claim):
            _bind(world, claim, node)


def class_of(world: WorkingCopy, claim: Object) -> Object | None:
    name = claim.spec.get("storageClassName")
    return world.get(STORAGE_CLASS.key("", str(name))) if name else None


def waits(world: WorkingCopy, claim: Object) -> bool:
    """Whether it is bound only when a Pod that uses it has its node."""
    o = class_of(world, claim)
    return o is not None and o.raw.get("volumeBindingMode") == WAITS


def _with_class(world: WorkingCopy, claim: Object) -> Object:
    """A claim that says no class gets the default one, also when that comes later (KEP-3333).

    A class that clusters of a maker have by themselves is made here.
    """
    if "storageClassName" not in claim.spec and not claim.spec.get("volumeName"):
        name = claim.annotations.get(_WAS_CLASS)
        if name is None and (default := default_of(world.kind(STORAGE_CLASS))) is not None:
            name = default.name
        if name is None:
            return claim
        claim = world.put(claim.replace(spec={**claim.spec, "storageClassName": name}))
    name = str(claim.spec.get("storageClassName") or "")
    if name in VENDOR_CLASSES and world.get(STORAGE_CLASS.key("", name)) is None:
        world.put(vendor_class(name))
    return claim


def _is_bound(world: WorkingCopy, claim: Object) -> bool:
    name = claim.spec.get("volumeName")
    if not name or claim.status.get("phase") not in ("Bound", "Lost"):
        return False
    if world.get(PERSISTENT_VOLUME.key("", name)) is None and claim.status.get("phase") == "Bound":
        message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        world.tell(Tell(claim, WARNING, "ClaimLost", message, COMPONENT))
        world.put(claim.replace(status={**claim.status, "phase": "Lost"}))
    return True


def _bind_now(world: WorkingCopy, claim: Object) -> None:
    if claim.spec.get("volumeName") or _prebound(world, claim) is not None or not waits(world, claim):
        _bind(world, claim, None)
    else:
        _wait(
            world,
            claim,
            NORMAL,
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        )


def _bind(world: WorkingCopy, claim: Object, node: Object | None) -> None:
    """Binds a claim, of a Pod on that node if there is one, or says why it can't be.

    One that was made in this very call is bound in the next one, when it has its uid, which names its volume.
    """
    if not uid(claim):
        return
    if name := claim.spec.get("volumeName"):
        volume = world.get(PERSISTENT_VOLUME.key("", name))
        if volume is None:
            _wait(world, claim, WARNING, "FailedBinding", f'volume "{name}" not found')
        elif _is_free_for(volume, claim):
            _bound(world, claim, volume)
        else:
            _wait(
                world, claim, WARNING, "FailedBinding", f'volume "{name}" already bound to a different claim.'
            )
        return
    volume = _prebound(world, claim) or matching(world, claim, node)
    if volume is not None:
        _bound(world, claim, volume)
        return
    storage_class, name = class_of(world, claim), claim.spec.get("storageClassName")
    if not name:
        message = "no persistent volumes available for this claim and no storage class is set"
        _wait(world, claim, NORMAL, "FailedBinding", message)
    elif storage_class is None:
        message = f'storageclass.storage.k8s.io "{name}" not found'
        _wait(world, claim, WARNING, "ProvisioningFailed", message)
    elif not provisions(storage_class):
        _wait(world, claim, NORMAL, "FailedBinding", "no volume plugin matched")
    else:
        made = world.put(_new_volume(claim, storage_class, node))
        message = f"Successfully provisioned volume {made.name}"
        world.tell(
            Tell(claim, NORMAL, "ProvisioningSucceeded", message, str(storage_class.raw["provisioner"]))
        )
        _bound(world, claim, made)


def provisions(storage_class: Object) -> bool:
    return storage_class.raw.get("provisioner") != NO_PROVISIONER


def _wait(world: WorkingCopy, claim: Object, type_: str, reason: str, message: str) -> None:
    """Says once why a claim isn't bound."""
    if claim.status.get("phase") != "Pending":
        world.tell(Tell(claim, type_, reason, message, COMPONENT))
        world.put(claim.replace(status={**claim.status, "phase": "Pending"}))


def _bound(world: WorkingCopy, claim: Object, volume: Object) -> None:
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "name": claim.name,
        "namespace": claim.namespace,
        "uid": uid(claim),
    }
    status = {"phase": "Bound"}
    world.put(volume.replace(spec={**volume.spec, "claimRef": reference}, status=status))
    capacity = {"storage": (volume.spec.get("capacity") or {}).get("storage")}
    told = {"phase": "Bound", "accessModes": list(volume.spec.get("accessModes") or ()), "capacity": capacity}
    spec = {**claim.spec, "volumeName": volume.name}
    world.put(claim.replace(spec=spec, status={**claim.status, **told}))


def _grow(world: WorkingCopy, claim: Object) -> None:
    """A claim that asks for more than it has gets it, where its class says so (KEP-284)."""
    volume = world.get(PERSISTENT_VOLUME.key("", str(claim.spec.get("volumeName"))))
    storage_class = class_of(world, claim)
    if volume is None or storage_class is None or not storage_class.raw.get("allowVolumeExpansion"):
        return
    if _asked(claim) > _capacity(volume):
        capacity = {"storage": claim.spec["resources"]["requests"]["storage"]}
        world.put(volume.replace(spec={**volume.spec, "capacity": {**volume.spec["capacity"], **capacity}}))
        world.put(claim.replace(status={**claim.status, "capacity": capacity}))


# Volumes that there are


def _prebound(world: WorkingCopy, claim: Object) -> Object | None:
    """The volume that names the claim itself."""
    named = (v for v in world.kind(PERSISTENT_VOLUME) if v.spec.get("claimRef") and _is_free_for(v, claim))
    return next(named, None)


def _is_free_for(volume: Object, claim: Object) -> bool:
    """Whether nobody else is bound to it, nor was."""
    reference = volume.spec.get("claimRef")
    if not reference:
        return volume.status.get("phase") != "Released"
    same = (reference.get("namespace"), reference.get("name")) == (claim.namespace, claim.name)
    return same and reference.get("uid") in (None, "", uid(claim))


def matching(world: WorkingCopy, claim: Object, node: Object | None) -> Object | None:
    """The smallest volume that nobody has and that is what the claim asks for (`FindMatchingVolume`)."""
    fitting = (v for v in world.kind(PERSISTENT_VOLUME) if not v.spec.get("claimRef") and _fits(v, claim))
    near = (v for v in fitting if node is None or is_on(v, node))
    return min(near, key=lambda v: (_capacity(v), v.name), default=None)


def _fits(volume: Object, claim: Object) -> bool:
    modes = set(claim.spec.get("accessModes") or ())
    selector = claim.spec.get("selector")
    return (
        not volume.metadata.get("deletionTimestamp")
        and volume.status.get("phase") in (None, "Available", "Pending")
        and (volume.spec.get("storageClassName") or "") == (claim.spec.get("storageClassName") or "")
        and (volume.spec.get("volumeMode") or "Filesystem") == (claim.spec.get("volumeMode") or "Filesystem")
        and modes <= set(volume.spec.get("accessModes") or ())
        and _capacity(volume) >= _asked(claim)
        and (not selector or matches_selector(selector, volume.labels))
    )


def is_on(volume: Object, node: Object) -> bool:
    """Whether the volume may be used on the node."""
    required = (volume.spec.get("nodeAffinity") or {}).get("required")
    return not required or any(fits_term(term, node) for term in required.get("nodeSelectorTerms") or ())


def _capacity(volume: Object) -> Any:
    return parse_quantity((volume.spec.get("capacity") or {}).get("storage") or 0).value


def _asked(claim: Object) -> Any:
    requests = (claim.spec.get("resources") or {}).get("requests") or {}
    return parse_quantity(requests.get("storage") or 0).value


def _new_volume(claim: Object, storage_class: Object, node: Object | None) -> Object:
    name = f"pvc-{uid(claim)}"
    modes = list(claim.spec.get("accessModes") or ())
    spec: dict[str, Any] = {
        "accessModes": modes,
        "capacity": {"storage": claim.spec["resources"]["requests"]["storage"]},
        "csi": {"driver": DRIVER, "volumeHandle": name},
        "persistentVolumeReclaimPolicy": storage_class.raw.get("reclaimPolicy") or "Delete",
        "storageClassName": storage_class.name,
        "volumeMode": claim.spec.get("volumeMode") or "Filesystem",
    }
    if node is not None and not any(mode in _SHARED for mode in modes):
        here = {"key": _HOST, "operator": "In", "values": [node_label(node, _HOST)]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    key = PERSISTENT_VOLUME.key("", name)
    metadata = {
        "name": name,
        "uid": new_uid(key, uid(claim)),
        "annotations": {"pv.kubernetes.io/provisioned-by": str(storage_class.raw.get("provisioner"))},
    }
    raw = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}
    return Object({**raw, "status": {"phase": "Pending"}})


def has_claim(world: WorkingCopy, volume: Object) -> bool:
    """Whether the claim is there that it is bound to."""
    reference = volume.spec.get("claimRef") or {}
    if not reference.get("uid"):
        return False
    claim = world.get(PERSISTENT_VOLUME_CLAIM.key(reference["namespace"], reference["name"]))
    return claim is not None and uid(claim) == reference["uid"]


def _report(world: WorkingCopy, volume: Object) -> None:
    """Says how a volume is; one whose claim has gone stays, or goes, as it says."""
    current = world.get(volume.key)
    if current is None or current.metadata.get("deletionTimestamp"):
        return
    phase = "Available"
    if (current.spec.get("claimRef") or {}).get("uid"):
        phase = "Bound" if has_claim(world, current) else "Released"
    if phase == "Released" and current.spec.get("persistentVolumeReclaimPolicy") == "Delete":
        world.delete(current)
    elif current.status.get("phase") != phase:
        world.put(current.replace(status={**current.status, "phase": phase}))
