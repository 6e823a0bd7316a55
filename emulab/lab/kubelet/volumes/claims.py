"""What PersistentVolumeClaims lead to: a folder for each PersistentVolume, for the lab's life.

A PersistentVolume that says `hostPath` or `local` is that folder of the host, where the Cluster allows it. All others,
those of clouds' disks and network file systems too, are folders of the lab.
"""

from __future__ import annotations

from pathlib import Path

from emulab.kinds.core.volumespec import EPHEMERAL
from emulab.kinds.registry import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM
from emulab.lab.folders import rooms
from emulab.lab.kubelet.volumes import hostpath
from emulab.lab.kubelet.volumes.volume import AskedVolume, NotProcessed, VolumeSource
from emulab.model.objects import Object

_MODE = 0o777
_ON_HOST = ("hostPath", "local")


def source(asked: AskedVolume) -> VolumeSource:
    volume = bound_volume(asked)
    read_only = bool(asked.settings.get("readOnly"))
    for field in _ON_HOST:
        if given := volume.spec.get(field):
            found = hostpath.source_at(asked, given["path"])
            return found._replace(read_only=found.read_only or read_only)
    return VolumeSource(str(asked.claims / str(volume.metadata["uid"])), read_only=read_only)


def bound_volume(asked: AskedVolume) -> Object:
    """The PersistentVolume behind a volume's claim. Raises NotProcessed."""
    namespace, name = asked.pod.namespace, asked.volume.claim(asked.pod.name)
    claim = asked.objects.get(PERSISTENT_VOLUME_CLAIM.key(namespace, name))
    about = f"error processing PVC {namespace}/{name}"
    if claim is None:
        why = f'failed to fetch PVC from API server: persistentvolumeclaims "{name}" not found'
        raise NotProcessed(f"{about}: {why}")
    if asked.volume.kind == EPHEMERAL and not _is_made_for(claim, asked.pod):
        raise NotProcessed(f"PVC {namespace}/{name} was not created for pod {namespace}/{asked.pod.name}")
    if claim.metadata.get("deletionTimestamp"):
        raise NotProcessed(f"{about}: can't start pod because PVC is being deleted")
    volume = asked.objects.get(PERSISTENT_VOLUME.key("", str(claim.spec.get("volumeName") or "")))
    if volume is None or claim.status.get("phase") != "Bound":
        raise NotProcessed(f"{about}: PVC is not bound")
    return volume


def _is_made_for(claim: Object, pod: Object) -> bool:
    owners = claim.metadata.get("ownerReferences") or ()
    return any(owner.get("uid") == pod.metadata.get("uid") for owner in owners)


def make(asked: AskedVolume, source: VolumeSource) -> None:
    volume = bound_volume(asked)
    if volume.spec.get("hostPath"):
        hostpath.make_at(volume.spec["hostPath"].get("type") or "", source)
    elif volume.spec.get("local"):
        hostpath.make_at("Directory", source)
    else:
        rooms.make(Path(source.path), _MODE)
