"""An empty folder for the Pod's life (pkg/volume/emptydir).

All of them are in memory, whatever their medium. One with a `sizeLimit` is a file system of that size, in which writing
more fails at once; the kubelet evicts a Pod that it finds to have written more, a while later.
"""

from __future__ import annotations

import os
from math import ceil

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.lab.kubelet.volumes.volume import AskedVolume, VolumeSource
from emulab.model.quantity import parse_quantity

_MODE, _MODE_IN_MEMORY = 0o777, 0o1777


def source(asked: AskedVolume) -> VolumeSource:
    return VolumeSource(str(asked.folder))


def make(asked: AskedVolume, source: VolumeSource) -> None:
    if os.path.isdir(source.path):
        return
    os.makedirs(source.path, 0o700)
    mode = _MODE_IN_MEMORY if asked.settings.get("medium") == "Memory" else _MODE
    size = ceil(parse_quantity(asked.settings.get("sizeLimit") or 0).value)
    if size:
        options = f"size={size},mode={mode:o}"
        try:
            libc.mount("emptydir", source.path, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, options)
        except KernelError:
            os.rmdir(source.path)  # else the next try would take it for the volume
            raise
    else:
        os.chmod(source.path, mode)
