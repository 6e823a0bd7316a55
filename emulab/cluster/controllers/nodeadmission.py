"""What a node refuses of the Pods that are to run on it: pkg/kubelet/lifecycle/predicate.go, and pkg/kubelet/sysctl.

Of the kubelet's predicates only NodePorts can fail here, for Pods that name their node past the scheduler. A Pod that
somebody made anew for each one that fails would be made without end, so that of a controller is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulab.cluster.controllers.placement import HostPort, clash, host_ports
from emulab.cluster.controllers.pods import has_ended, is_active
from emulab.cluster.controllers.telling import rejected
from emulab.cluster.controllers.world import WorkingCopy
from emulab.kinds.core import safesysctls
from emulab.kinds.registry import POD
from emulab.model.objects import Object

REASON = "NodePorts"
MESSAGE = f"Predicate {REASON} failed"


def admit(world: WorkingCopy) -> None:
    """Fails Pods that ask for settings which are none of a Pod's, or their node for ports which others have."""
    for pod in world.kind(POD):
        if "securityContext" in pod.spec and _is_new(pod) and (why := safesysctls.forbidden(pod.spec)):
            _fail(world, pod, safesysctls.REASON, why)
    newcomers = [pod for pod in world.kind(POD) if _is_new(pod) and any(host_ports(pod.spec))]
    if not newcomers:
        return
    taken: dict[str, set[HostPort]] = {}
    for pod in _others(world):
        taken.setdefault(pod.spec["nodeName"], set()).update(host_ports(pod.spec))
    for pod in newcomers:
        wanted, there = list(host_ports(pod.spec)), taken.setdefault(pod.spec["nodeName"], set())
        if not clash(wanted, there):
            there.update(wanted)
            continue
        _fail(world, pod, REASON, MESSAGE)


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
