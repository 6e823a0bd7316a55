"""The controllers of a cluster as pure functions: from the stored objects to the changes they call for.

`reconcile` runs the controllers that kube-controller-manager and kube-scheduler run in a real cluster, in
one fixed order, over one working copy (`world`), so that each sees what those before it changed: a fresh
Deployment becomes ReplicaSet, Pods, placed Pods, EndpointSlices and statuses in one call. `resolve`
calls it after every change until it returns nothing.

* `namespaces`: those that are ending are emptied, and go
* `garbage`: what lost its owner goes; `adoption`: what has none gets one, by its labels
* `deployments` (with `rollout`, the arithmetic of one Deployment), `replicasets`, `statefulsets`,
  `daemonsets`: workloads become Pods; `batch`: Jobs do, which run to their
  end, and CronJobs become Jobs; `revisions`: what templates StatefulSets and DaemonSets have had
* `room`: how many Pods are made where more are asked for than can run
* `scheduler` (with `placement`, what a node is asked): Pods get nodes; `nodeadmission`:
  what a node refuses of those that name it themselves
* `storage`: claims get volumes
* `endpointslices`: Services and Pods become EndpointSlices; `apiserver`: that of the Service `kubernetes`;
  `mirroring`: those of Endpoints that users write
* `quotas`: what ResourceQuotas say is used
* `nodelifecycle`: nodes that nobody hears of any more, and their Pods
* `faults`: when what is broken on purpose begins and ends
* `telling`: what they tell of it in Events; `deadlines`: when time alone will give them something to do
* `world`, `pods`, `names`: the working copy, what a Pod's fields mean, deterministic names

Rules: no I/O, no randomness, and time is the argument `now`. Names come from hashes of what they stand for,
so the same objects give the same names and nodes; what a Pod was called that is gone, no other is. A controller
never writes what is already there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import NamedTuple

from emulab.cluster.controllers import (
    adoption,
    apiserver,
    batch,
    daemonsets,
    deployments,
    endpointslices,
    faults,
    garbage,
    mirroring,
    namespaces,
    nodeadmission,
    nodelifecycle,
    quotas,
    replicasets,
    scheduler,
    statefulsets,
    storage,
)
from emulab.cluster.controllers.deadlines import next_due
from emulab.cluster.controllers.world import Reads, WorkingCopy
from emulab.model.collection import Change, Objects

__all__ = ["next_due", "reconcile"]

ORDER: tuple[Callable[[WorkingCopy], None], ...] = (
    namespaces.empty,
    nodelifecycle.monitor,  # whose Pods aren't ready, or go, before others are made for them
    garbage.collect,
    adoption.claim,  # these first, so that nothing below works for an owner that is gone
    deployments.roll,  # decides how many replicas each ReplicaSet shall have …
    replicasets.scale,  # … which become Pods here
    statefulsets.scale,
    daemonsets.place,  # names its Pods' nodes itself, so the scheduler must count them: before it
    batch.run,
    storage.claim,  # the scheduler asks of each Pod whether its claims are there
    scheduler.schedule,  # gives every Pod made above a node
    storage.provide,
    nodeadmission.admit,  # after it, as it looks at what every node has
    apiserver.announce,
    mirroring.mirror,
    endpointslices.publish,  # reads the Pods' final state, nodes included
    replicasets.report,  # statuses last: they count what all of the above left behind,
    deployments.report,  # and a Deployment's adds up its ReplicaSets'
    statefulsets.report,
    daemonsets.report,
    quotas.report,
    faults.follow,
)
"""All controllers, in the order in which one call runs them."""


class _Rest(NamedTuple):
    """When controllers had nothing to do."""

    read: Mapping[Callable[[WorkingCopy], None], Reads]
    """By controller: what it had read for that."""
    until: float
    """Unix time at which that may change by itself."""


def reconcile(objects: Objects, now: float) -> list[Change]:
    """The changes that bring `objects` one step nearer to what they ask for; `now` is Unix time.

    An empty list means that nothing is to be done until an object changes or `next_due` has come. So of controllers
    that had nothing to do those work alone who read something then that has changed.
    """
    world, rest = WorkingCopy(objects, now), objects.notes.get(reconcile)
    known = rest.read if rest is not None and now < rest.until else {}
    read: dict[Callable[[WorkingCopy], None], Reads] = {}
    for controller in ORDER:
        if controller in known and world.is_as(known[controller]):
            read[controller] = known[controller]
            continue
        controller(world)
        read[controller] = world.take_read()
    changes = world.changes()
    if not changes:
        due = next_due(objects, now, world)
        objects.notes[reconcile] = _Rest(read, inf if due is None else due)
    return changes
