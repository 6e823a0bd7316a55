"""Making one volume. What is here blocks, and runs beside the loop."""

from __future__ import annotations

import os
from pathlib import Path

from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.lab.kubelet.volumes import atomicwriter
from emulab.lab.kubelet.volumes.files import WrittenFiles
from emulab.lab.kubelet.volumes.ownership import OneUser, Ownership, own_folder
from emulab.lab.kubelet.volumes.volume import AskedVolume, VolumeKind, VolumeSource
from emulab.model.keys import Key

_WRITTEN_MODE, _SECRET_MODE = 0o777, 0o1777
"""Of the top folders of volumes that the kubelet writes: a folder's, and a file system's in memory."""
_IN_MEMORY = ("secret", "projected")


def make(asked: AskedVolume, kind: VolumeKind, source: VolumeSource, files: WrittenFiles | None) -> bool:
    """Makes the volume. Whether its group couldn't be set, as the lab has one user. Raises NotMounted, OSError,
    KernelError."""
    ownership = _ownership(asked, source)
    try:
        kind.make(asked, source)
        if files is not None:
            _write(asked, source, files, ownership)
        if ownership is not None:
            own_folder(source.path, ownership)
    except OneUser:
        if files is not None:
            _write(asked, source, files, None)
        return True
    return False


def _write(
    asked: AskedVolume, source: VolumeSource, files: WrittenFiles, ownership: Ownership | None
) -> None:
    if not os.path.isdir(source.path):
        os.makedirs(source.path, 0o700)
        os.chmod(source.path, _SECRET_MODE if asked.volume.kind in _IN_MEMORY else _WRITTEN_MODE)
    atomicwriter.write(Path(source.path), files, ownership)


def _ownership(asked: AskedVolume, source: VolumeSource) -> Ownership | None:
    context = asked.pod.spec.get("securityContext") or {}
    group = context.get("fsGroup")
    if group is None or not source.owned:
        return None
    mismatch = context.get("fsGroupChangePolicy") == "OnRootMismatch"
    return Ownership(int(group), source.read_only, mismatch and not source.read_only)


def named(spec: PodSpec, namespace: str) -> list[Key]:
    """The ConfigMaps and Secrets that a Pod's volumes tell of."""
    found: list[Key] = []
    for volume in spec.volumes:
        if volume.kind == "configMap":
            found.append(CONFIG_MAP.key(namespace, volume.settings["name"]))
        elif volume.kind == "secret":
            found.append(SECRET.key(namespace, volume.settings["secretName"]))
        elif volume.kind == "projected":
            for source in volume.settings.get("sources") or ():
                for field, kind in (("configMap", CONFIG_MAP), ("secret", SECRET)):
                    if source.get(field):
                        found.append(kind.key(namespace, source[field]["name"]))
    return found
