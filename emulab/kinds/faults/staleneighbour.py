"""stale-neighbour: a neighbour entry with the MAC address of a card that is gone.

The other nodes have the node's address with a card that it had before, and don't ask again:
https://github.com/aws/amazon-vpc-cni-k8s/issues/3628
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, WrongNeighbour
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(scene: Scene, target: str, _: FaultOptions) -> Sequence[Harm]:
    return [WrongNeighbour(node, target) for node in scene.nodes if node != target]


FAULT = FaultKind(
    name="stale-neighbour",
    text="the other nodes have a neighbour entry (ARP, NDP) for a node with a MAC address that is gone",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom("{other}", ("ping", "-c", "1", "-W", "1", "{address}")),
    says="the other nodes have a stale neighbour entry for {target}",
    reasons=frozenset({"lost", "no-answer", "arp", "no-target", "dead-node"}),
    thread="https://github.com/aws/amazon-vpc-cni-k8s/issues/3628",
)
