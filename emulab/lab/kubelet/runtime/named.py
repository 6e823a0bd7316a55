"""The runtimes by their names, and the one that a lab's Cluster asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.folders import private
from emulab.lab.kubelet.runtime.builtin import BuiltinRuntime
from emulab.lab.kubelet.runtime.interface import ContainerRuntime
from emulab.lab.kubelet.runtime.sandbox import hidden_folders
from emulab.lab.supervisor.surroundings import Surroundings

_RUNTIMES: Mapping[str, Callable[[Surroundings], ContainerRuntime]] = {
    "builtin": lambda around: BuiltinRuntime(around.processes, *_folders(around)),
}


def _folders(around: Surroundings) -> tuple[Path, tuple[str, ...]]:
    return private.folder(around.folder), hidden_folders(around.images.folder)


def runtime_of(around: Surroundings) -> ContainerRuntime:
    """The runtime of pods that begin now."""
    name = cluster_of(around.store.objects()).runtime
    if name not in around.runtimes:
        around.runtimes[name] = _RUNTIMES[name](around)
    return around.runtimes[name]
