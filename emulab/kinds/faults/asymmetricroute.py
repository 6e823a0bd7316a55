"""asymmetric-route: a node whose answers take another way than the requests, and that filters reverse paths.

Its routes to the pods of other nodes lead past the overlay, from which they come; strict rp_filter, which many
distributions set, drops them: https://github.com/cloudnativelabs/kube-router/issues/138
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Askew, Harm
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (Askew(target),)


FAULT = FaultKind(
    name="asymmetric-route",
    text="a node would answer other nodes' pods past the overlay, and so drops what comes over it (rp_filter)",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom("{other_pod}", ("ping", "-c", "1", "-W", "1", "{pod_address}")),
    says="the way back of node {target} to other nodes' pods is another one than they come by, and rp_filter is 1",
    reasons=frozenset({"lost", "no-answer", "dropped", "unanswered", "reverse-path"}),
    thread="https://github.com/cloudnativelabs/kube-router/issues/138",
    needs_overlay=True,
)
