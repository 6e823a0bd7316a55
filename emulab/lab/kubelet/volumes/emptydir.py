"""An empty folder for the Pod's life (pkg/volume/emptydir).

All of them are in memory, whatever their medium, in the file system of their Pod. One with a `sizeLimit` is a file
system of that size, in which writing more fails at once; the kubelet evicts a Pod that it finds to have written more,
a while later.
"""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

from emulab.lab.folders import rooms
from emulab.lab.kubelet.volumes.volume import AskedVolume, VolumeSource
from emulab.model.quantity import parse_quantity

_MODE, _MODE_IN_MEMORY = 0o777, 0o1777


def source(asked: AskedVolume) -> VolumeSource:
    return VolumeSource(str(asked.folder))


def make(asked: AskedVolume, source: VolumeSource) -> None:
    if os.path.isdir(source.path):
        return
    mode = _MODE_IN_MEMORY if asked.settings.get("medium") == "Memory" else _MODE
    size = ceil(parse_quantity(asked.settings.get("sizeLimit") or 0).value)
    if size:
        rooms.make(Path(source.path), mode, str(size))
    else:
        os.makedirs(source.path, 0o700)
        os.chmod(source.path, mode)
