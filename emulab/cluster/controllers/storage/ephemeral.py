"""Claims that a Pod has for itself, and that go with it (KEP-1698, pkg/controller/volume/ephemeral)."""

from __future__ import annotations

from typing import Any

from emulab.cluster.admission.newcomer import as_admitted
from emulab.cluster.controllers.names import controller_reference, new_uid
from emulab.cluster.controllers.pods import is_active
from emulab.cluster.controllers.world import WorkingCopy, uid
from emulab.kinds.core.volumespec import EPHEMERAL, Volume
from emulab.kinds.registry import PERSISTENT_VOLUME_CLAIM, POD
from emulab.model.collection import WARNING, Tell
from emulab.model.objects import Object

COMPONENT = "ephemeral_volume"


def _ephemeral(pod: Object) -> tuple[Volume, ...] | None:
    volumes = (Volume.of(v) for v in pod.spec.get("volumes") or () if EPHEMERAL in v)
    return tuple(volumes) or None


def make(world: WorkingCopy) -> None:
    for key, volumes in world.facts(POD, _ephemeral).items():
        pod = world.get(key)
        # One that was made in this very call has yet to get its uid, by which its claims are known to be its own.
        if pod is None or not is_active(pod) or "resourceVersion" not in pod.metadata:
            continue
        for volume in volumes:
            _make(world, pod, volume)


def _make(world: WorkingCopy, pod: Object, volume: Volume) -> None:
    name = volume.claim(pod.name)
    key = PERSISTENT_VOLUME_CLAIM.key(pod.namespace, name)
    if world.get(key) is not None:
        return
    template = volume.settings.get("volumeClaimTemplate") or {}
    given = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": pod.namespace,
        "ownerReferences": [controller_reference(pod)],
        "uid": new_uid(key, uid(pod)),
    }
    metadata |= {field: given[field] for field in ("labels", "annotations") if given.get(field)}
    claim = claim_object(metadata, template.get("spec") or {})
    claim, why = as_admitted(world, claim)
    if why:
        world.tell(Tell(pod, WARNING, "FailedCreate", f"ephemeral volume controller: {why}", COMPONENT))
        return
    world.put(claim)


def claim_object(metadata: dict[str, Any], spec: Any) -> Object:
    raw = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
    return Object({**raw, "status": {"phase": "Pending"}})
