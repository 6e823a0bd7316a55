"""A lab that is only thought of: what `up` would build, without privileges and without building it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from emulab.cluster.admission.loader import load
from emulab.cluster.admission.merge import merge
from emulab.cluster.allocation import allocate
from emulab.cluster.brought import brings_ingress, with_kept_settings
from emulab.cluster.controllers.pods import replicas_asked
from emulab.cluster.resolve import resolve
from emulab.cluster.store import Store
from emulab.cluster.system import system_objects
from emulab.errors import EmulabError
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import POD, STATEFUL_SET
from emulab.lab.images.held import Images
from emulab.lab.images.home import images_folder
from emulab.lab.kubelet.podstatus import ContainerState, pod_status
from emulab.lab.kubelet.programs import missing_program
from emulab.lab.oddities import oddities as oddities_of
from emulab.model.collection import Objects
from emulab.model.objects import NOWHERE, Object
from emulab.model.sources import Source
from emulab.plan.state import World
from emulab.plan.world import plan_world

_PASSES = 1000  # a StatefulSet's pods come one by one, each after the one before is Ready
_LONG = 100  # replicas of a StatefulSet, after which a pass for each takes too long
_EPOCH = 0.0  # the clock of a lab in which nothing takes time
_STARTED = "1970-01-01T00:00:00Z"


def offline_world(sources: Sequence[Source]) -> tuple[Objects, World]:
    """The objects and the plan of a lab with these manifests, once all its pods are Ready. Raises UserError."""
    return thought_of(load(sources).objects if sources else ())


def thought_of(given: Sequence[Object]) -> tuple[Objects, World]:
    """The objects and the plan of a lab with these objects, as `offline_world` has them."""
    store = Store()
    own = {o.key for o in given}
    for o in system_objects(cluster_of(Objects(given)), ingress=brings_ingress(given) is None):
        if o.key not in own:
            store.put(_with_uid(o))
    for o in given:
        store.put(with_kept_settings(store, merge(None, _with_uid(_in_time(o)))))
    images = Images(images_folder())
    for _ in range(_PASSES):
        cluster, objects = resolve(store, _EPOCH, missing_program, images.program)
        version = store.version
        if cluster.chain:  # nobody calls plug-ins here: host-local would give these addresses, in some order
            store.apply(allocate(objects, replace(cluster, chain="")))
            objects = store.objects()
        for pod in objects.kind(POD):
            _run(store, pod)
        if store.version == version:
            return objects, plan_world(objects, cluster)
    raise EmulabError("the pods do not come to rest; this is a fault of emulab")


def oddities(objects: Objects) -> list[str]:
    """The warnings about what manifests gave of these objects."""
    return oddities_of(
        [o for o in objects if o.position != NOWHERE], objects, Images(images_folder()).program
    )


def _in_time(o: Object) -> Object:
    """The object; a long StatefulSet makes its Pods at once, as each would be Ready when the next one asks.

    A short one stays as it is: others' Pods get their addresses between its own, as in a lab.
    """
    ordered = o.type == STATEFUL_SET and o.spec.get("podManagementPolicy") != "Parallel"
    if not ordered or replicas_asked(o) <= _LONG:
        return o
    return o.replace(spec={**o.spec, "podManagementPolicy": "Parallel"})


def _with_uid(o: Object) -> Object:
    """The object with a uid that its key alone gives: the same manifests always make the same plan."""
    return o.replace(metadata={"uid": str(uuid.uuid5(uuid.NAMESPACE_OID, str(o.key))), **o.metadata})


def _run(store: Store, pod: Object) -> None:
    """What the kubelet would report of a pod once it is Ready. A pod without an address can't run."""
    if not pod.status.get("podIPs") or pod.status.get("phase") in ("Succeeded", "Failed"):
        return
    spec = PodSpec.of_pod(pod)
    containers = [_state(c, running=True) for c in spec.containers]
    inits = [_state(c, running=c.restarts) for c in spec.init_containers]
    store.set_status(pod.key, startTime=_STARTED, **pod_status(containers, inits, initialised=True))


def _state(container: Container, running: bool) -> ContainerState:
    """A container that runs, or one that did what it had to do."""
    name, image = container.name, container.image
    if running:
        return ContainerState(name, image, running=True, started=True, ready=True, started_at=_STARTED)
    return ContainerState(name, image, ready=True, exit_status=0, done=True)
