"""zone-lost: all nodes of a zone are cut off from the rest, and from each other."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, LostOnWire
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import ZONE_TARGET, Scene


def _effects(scene: Scene, target: str, _: FaultOptions) -> Sequence[Harm]:
    return [LostOnWire(node) for node in scene.zone(target)]


FAULT = FaultKind(
    name="zone-lost",
    text="all nodes of a zone are cut off",
    target=ZONE_TARGET,
    effects=_effects,
    symptom=Symptom("{other}", ("ping", "-c", "1", "-W", "1", "{address}")),
    says="all nodes of zone {target} are cut off",
    reasons=frozenset({"arp", "lost", "dead-node", "no-answer", "no-target"}),
)
