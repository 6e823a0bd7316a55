"""How many Pods are made: no more than can run, and a few that show why the others can't.

kube-controller-manager makes every replica that is asked for, and what finds no node stays Pending. A manifest
needs eight digits to ask for more Pods than any memory holds, so here an owner stops where more would only wait:

* what all nodes together have room for is made at once;
* beyond it an owner may have as many Pods waiting as it has running, `FEW` at the least and `BURST` at the most. Who
  asks for a little too much sees every replica, as in Kubernetes, and where the nodes that an owner may use
  have room, it goes on in growing steps (the slow start of pkg/controller/controller_utils.go).

What isn't made is told by the condition ReplicaFailure, as of a ReplicaSet that a quota keeps from making Pods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from emulab.cluster.controllers import placement
from emulab.cluster.controllers.pods import has_ended, is_active, with_condition
from emulab.cluster.controllers.telling import FAILURE, failure, is_refused
from emulab.cluster.controllers.world import WorkingCopy, uid
from emulab.kinds.registry import NODE, POD
from emulab.model.objects import Object

FEW = 10
BURST = 500  # BurstReplicas of pkg/controller/replicaset: what it makes before it looks again
OWN_NAMESPACES = ("kube-system", "ingress-nginx")
_ONCE = "room"


def importance(o: Object) -> int:
    """What the cluster itself needs comes first, as with the priority class system-cluster-critical."""
    return 0 if o.namespace in OWN_NAMESPACES else 1


class Room:
    """What the nodes can take beside all Pods that there are, in one call of the controllers."""

    def __init__(self, world: WorkingCopy) -> None:
        self._world = world
        self._limits = {node.name: placement.room(node) for node in world.kind(NODE)}
        pods = [pod for pod in world.kind(POD) if not has_ended(pod)]
        self._crowd = Counter(str(pod.spec.get("nodeName") or "") for pod in pods)
        self.total = sum(self._limits.values())
        self.free = self.total - len(pods)

    @staticmethod
    def of(world: WorkingCopy) -> Room:
        """The room as it is known in this call; whoever makes Pods says so by `grant`."""
        return world.once(_ONCE, lambda: Room(world))

    def grant(self, owner: Object, wanted: int) -> int:
        """How many of the `wanted` Pods the owner may make now; they are counted as made."""
        active = [pod for pod in self._world.owned(owner, POD) if is_active(pod)]
        waiting = sum(not self._has_place(pod) for pod in active)
        patience = min(BURST, max(FEW, len(active) - waiting)) - waiting
        granted = max(0, min(wanted, max(self.free, patience)))
        self.free -= granted
        return granted

    def _has_place(self, pod: Object) -> bool:
        """Whether the Pod is on a node that isn't overcrowded; templates may name a node that has no room."""
        node = str(pod.spec.get("nodeName") or "")
        return node in self._limits and self._crowd[node] <= self._limits[node]


def with_failure(
    world: WorkingCopy, owner: Object, status: Mapping[str, Any], there: int, asked: int
) -> dict[str, Any]:
    """`status` with the condition ReplicaFailure where fewer Pods were made than asked for, without it elsewhere."""
    if there >= asked:
        others = [c for c in status.get("conditions") or () if c.get("type") != FAILURE]
        kept = {field: value for field, value in status.items() if field != "conditions"}
        return {**kept, "conditions": others} if others else kept
    if is_refused(world, owner):
        why = world.refusals.get(uid(owner)) or str(failure(owner).get("message"))
        return with_condition(status, world.now, FAILURE, "True", "FailedCreate", why)
    room, nodes = Room.of(world).total, len(world.kind(NODE))
    message = (
        f"{there} of {asked} Pods are made: {nodes} nodes have room for {room}, and more would only wait;"
        " give the Cluster more spec.nodes"
    )
    return with_condition(status, world.now, FAILURE, "True", "FailedCreate", message)


def reason(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Why a condition is as it is: its reason and message."""
    return str(entry.get("reason") or ""), str(entry.get("message") or "")
