"""Kinds of volumes that labs don't have: disks of clouds, network file systems, images. Pure."""

from __future__ import annotations

from emulab.lab.kubelet.volumes.volume import AskedVolume, NotInLabs, VolumeSource


def source(asked: AskedVolume) -> VolumeSource:
    kind = asked.volume.kind
    raise NotInLabs(f"a lab has no volumes of type {kind}; give the Pod a persistentVolumeClaim instead")
