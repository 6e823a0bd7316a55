"""hairpin-refused: a pod can't reach itself by its own Service.

The packet goes out by the link that it came by, which a bridge without hairpin mode doesn't do:
https://github.com/kubernetes/kubernetes/issues/20475. Pods' links are routed here, so it is emulated: the node drops
what a pod sends to itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import HAIRPIN, Filtered, Harm
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (Filtered(target, HAIRPIN),)


FAULT = FaultKind(
    name="hairpin-refused",
    text="the pods of a node don't reach themselves by their own Service",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom("{pod}", ("curl", "-sSf", "-m", "2", "-o", "/dev/null", "http://{local_service}/")),
    says="node {target} sends nothing back by the link that it came by (hairpin mode)",
    reasons=frozenset({"lost", "dropped", "rule", "no-answer", "unanswered"}),
    thread="https://github.com/kubernetes/kubernetes/issues/20475",
    traced=Traced("{pod}", "http://{local_service}/"),
)
