"""All kinds of volumes, by the field of a Pod's volume that says so, one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emulab.kinds.core.volumespec import CLAIM, EMPTY_DIR, EPHEMERAL
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.lab.kubelet.volumes import (
    absent,
    claims,
    downwardapi,
    emptydir,
    hostpath,
    keyed,
    projected,
)
from emulab.lab.kubelet.volumes.files import WrittenFiles
from emulab.lab.kubelet.volumes.volume import AskedVolume, VolumeKind, VolumeSource


def _written(files: Callable[[AskedVolume], WrittenFiles]) -> VolumeKind:
    """A kind whose files the kubelet writes: nobody else may (kubernetes#60814)."""
    return VolumeKind(lambda asked: VolumeSource(str(asked.folder), read_only=True), files=files)


_KINDS: Mapping[str, VolumeKind] = {
    EMPTY_DIR: VolumeKind(emptydir.source, emptydir.make),
    "configMap": _written(keyed.files(CONFIG_MAP, "name")),
    "secret": _written(keyed.files(SECRET, "secretName")),
    "downwardAPI": _written(downwardapi.files),
    "projected": _written(projected.files),
    "hostPath": VolumeKind(hostpath.source, hostpath.make),
    CLAIM: VolumeKind(claims.source, claims.make),
    EPHEMERAL: VolumeKind(claims.source, claims.make),
}
_ABSENT = VolumeKind(absent.source)


def kind_of(name: str) -> VolumeKind:
    return _KINDS.get(name, _ABSENT)
