"""The runtimes by their names, and the one that a lab's Cluster asks for."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.kinds.registry import CLUSTER
from emulab.lab.folders import private
from emulab.lab.kubelet.runtime.builtin import BuiltinRuntime
from emulab.lab.kubelet.runtime.interface import ContainerRuntime
from emulab.lab.kubelet.runtime.oci import OciRuntime
from emulab.lab.kubelet.runtime.sandbox import hidden_folders
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.objects import Object

BUILTIN = "builtin"


def runtime_of(around: Surroundings) -> ContainerRuntime:
    """The runtime of pods that begin now."""
    return runtime_named(around, cluster_of(around.store.objects()).runtime)


def runtime_named(around: Surroundings, name: str) -> ContainerRuntime:
    """The lab's runtime of that name, one of those that the schema of a Cluster has."""
    if name not in around.runtimes:
        folders = private.folder(around.folder), hidden_folders(around.images.folder)
        if name == BUILTIN:
            around.runtimes[name] = BuiltinRuntime(around.processes, *folders)
        else:
            around.runtimes[name] = OciRuntime(name, around.processes, *folders)
    return around.runtimes[name]


async def refuse_unready(around: Surroundings, given: Sequence[Object]) -> None:
    """Raises UserError when the runtime that a Cluster asks for doesn't work here."""
    for o in given:
        if o.type == CLUSTER and (name := Cluster.of(o).runtime) != BUILTIN:
            status = await runtime_named(around, name).status()
            if not status.ready:
                raise UserError(f"{o.position}: {o.key} spec.pods.runtime: {status.message}")
