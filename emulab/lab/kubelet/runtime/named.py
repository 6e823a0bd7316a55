"""The runtimes by their names, and the one that a lab's Cluster asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.folders import private
from emulab.lab.kubelet.runtime.builtin import BuiltinRuntime
from emulab.lab.kubelet.runtime.interface import ContainerRuntime
from emulab.lab.kubelet.runtime.oci import OciRuntime
from emulab.lab.kubelet.runtime.sandbox import hidden_folders
from emulab.lab.supervisor.surroundings import Surroundings

_RUNTIMES: Mapping[str, Callable[[Surroundings], ContainerRuntime]] = {
    "builtin": lambda around: BuiltinRuntime(around.processes, *_folders(around)),
    "crun": lambda around: OciRuntime("crun", around.processes, *_folders(around)),
    "runc": lambda around: OciRuntime("runc", around.processes, *_folders(around)),
}


def _folders(around: Surroundings) -> tuple[Path, tuple[str, ...]]:
    return private.folder(around.folder), hidden_folders(around.images.folder)


def runtime_of(around: Surroundings) -> ContainerRuntime:
    """The runtime of pods that begin now."""
    return runtime_named(around, cluster_of(around.store.objects()).runtime)


def runtime_named(around: Surroundings, name: str) -> ContainerRuntime:
    """The lab's runtime of that name, one of those that the schema of a Cluster has."""
    if name not in around.runtimes:
        around.runtimes[name] = _RUNTIMES[name](around)
    return around.runtimes[name]
