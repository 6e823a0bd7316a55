"""node-lost: a node that nobody reaches any more, while its pods go on.

As when its power, its cable or its instance is gone: https://github.com/kubernetes/kubernetes/issues/55713 tells how
long Services go on sending requests there, which is until the node is found not ready and its endpoints are taken out.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, LostOnWire
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (LostOnWire(target),)


FAULT = FaultKind(
    name="node-lost",
    text="a node's cable is pulled: nobody reaches it, and it reaches nobody",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom("{other}", ("ping", "-c", "1", "-W", "1", "{address}")),
    says="the cable of node {target} is pulled",
    reasons=frozenset({"arp", "lost", "dead-node", "no-answer", "no-target"}),
    thread="https://github.com/kubernetes/kubernetes/issues/55713",
)
