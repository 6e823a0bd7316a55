"""overlay-blocked: a firewall between nodes that knows nothing of the overlay.

Pods of one node reach each other, nodes reach each other, and pods of two nodes don't: the security group lets TCP
through and not UDP 8472, the port of flannel's VXLAN. https://github.com/flannel-io/flannel/issues/1318
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import OVERLAY, TO, Harm, LostOnWire
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (LostOnWire(target, TO, what=OVERLAY),)


FAULT = FaultKind(
    name="overlay-blocked",
    text="a firewall before a node lets no packets of the overlay through: pods of other nodes don't reach its pods",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom("{other_pod}", ("ping", "-c", "1", "-W", "1", "{pod_address}")),
    says="a firewall before node {target} drops the overlay's packets",
    reasons=frozenset({"lost", "no-answer"}),
    thread="https://github.com/flannel-io/flannel/issues/1318",
    needs_overlay=True,
)
