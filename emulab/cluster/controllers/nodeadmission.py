"""What a node refuses of the Pods that are to run on it: pkg/kubelet/lifecycle/predicate.go, and pkg/kubelet/sysctl.

Of the kubelet's predicates NodePorts and NodeResourcesFit can fail here. A Pod that somebody made anew for each one
that fails would be made without end, so that of a controller is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulab.cluster.controllers.noderesources import NOTHING, Allocation, asked_by
from emulab.cluster.controllers.placement import HostPort, clash, host_ports
from emulab.cluster.controllers.pods import has_ended, is_active
from emulab.cluster.controllers.telling import rejected
from emulab.cluster.controllers.world import WorkingCopy
from emulab.kinds.core import safesysctls
from emulab.kinds.registry import NODE, POD
from emulab.model.objects import Object

REASON = "NodePorts"
MESSAGE = f"Predicate {REASON} failed"


_SHORT = "Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}"


def admit(world: WorkingCopy) -> None:
    """Fails Pods that ask for settings which are none of a Pod's, or their node for ports or resources of others."""
    for pod in world.kind(POD):
        if "securityContext" in pod.spec and _is_new(pod) and (why := safesysctls.forbidden(pod.spec)):
            _fail(world, pod, safesysctls.REASON, why)
    asked = world.facts(POD, asked_by)
    newcomers = [
        pod for pod in world.kind(POD) if _is_new(pod) and (pod.key in asked or any(host_ports(pod.spec)))
    ]
    if not newcomers:
        return
    taken: dict[str, set[HostPort]] = {}
    allocation = Allocation(world.kind(NODE))
    for pod in _others(world):
        taken.setdefault(pod.spec["nodeName"], set()).update(host_ports(pod.spec))
        allocation.add(pod.spec["nodeName"], asked.get(pod.key))
    for pod in newcomers:
        node, own = pod.spec["nodeName"], asked.get(pod.key) or NOTHING
        wanted, there = list(host_ports(pod.spec)), taken.setdefault(node, set())
        # What a node knows nothing of is none of its business (`removeMissingExtendedResources`).
        known = {name: amount for name, amount in own.items() if name in allocation.have(node)}
        if short := allocation.shortages(node, known):
            _fail(world, pod, f"OutOf{short[0].resource}", _SHORT.format(*short[0]))
        elif clash(wanted, there):
            _fail(world, pod, REASON, MESSAGE)
        else:
            there.update(wanted)
            allocation.add(node, own)


def _fail(world: WorkingCopy, pod: Object, reason: str, why: str) -> None:
    rejected(world, pod, reason, why)
    failed = {"phase": "Failed", "reason": reason, "message": f"Pod was rejected: {why}"}
    world.put(pod.replace(status={**pod.status, **failed}))


def _is_new(pod: Object) -> bool:
    """Whether its node hasn't taken it yet, and nobody makes another when it fails."""
    named = pod.spec.get("nodeName") and not pod.status.get("podIPs")
    return bool(named and is_active(pod) and not pod.metadata.get("ownerReferences"))


def _others(world: WorkingCopy) -> Iterator[Object]:
    return (p for p in world.kind(POD) if p.spec.get("nodeName") and not _is_new(p) and not has_ended(p))
