"""bad-checksum: an offload that works out the checksum of VXLAN's outer header wrong.

Packets of the overlay come to the other node, whose kernel drops them for their checksum; packets between nodes are
fine: https://github.com/flannel-io/flannel/issues/1279. Emulated: the wire writes another checksum into what the node
sends, and the links work all others out, which virtual links leave open.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import FROM, OVERLAY, Harm, Impaired
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (Impaired(target, FROM, corrupt=1, what=OVERLAY),)


FAULT = FaultKind(
    name="bad-checksum",
    text="a node's card sends the overlay's packets with a wrong checksum, and the other nodes drop them",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom("{other_pod}", ("ping", "-c", "1", "-W", "1", "{pod_address}")),
    says="the card of node {target} works out the overlay's checksums wrong",
    reasons=frozenset({"lost", "no-answer", "unanswered", "dropped"}),
    thread="https://github.com/flannel-io/flannel/issues/1279",
    needs_overlay=True,
    decides=True,
)
