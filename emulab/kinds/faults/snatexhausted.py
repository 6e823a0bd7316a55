"""snat-exhausted: a node with too few ports for what its pods send out.

All pods of a node share its address towards the outside, and have as many connections to one server there as that has
ports; those beyond get lost: https://github.com/cilium/cilium/issues/23604
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import FewPorts, Harm
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, amount
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return (FewPorts(target, int(options["ports"])),)


FAULT = FaultKind(
    name="snat-exhausted",
    text="a node has few source ports for its pods' connections out of the cluster, and soon none",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom(
        "{pod}",
        (
            "sh",
            "-c",
            "for n in $(seq 6); do dig +time=1 +tries=1 @{outside_names} . >/dev/null || exit; done",
        ),
    ),
    says="node {target} has {ports} source ports for its pods' connections to one server outside",
    reasons=frozenset(
        {"no-port", "rule", "lost", "dropped", "no-answer", "no-name-answer", "unanswered", "misled"}
    ),
    options={"ports": Option(amount(1, 15000), "4", "source ports that there are", "{:.0f}")},
    thread="https://github.com/cilium/cilium/issues/23604",
    traced=Traced("{pod}", "{outside_names}:53/udp", worn=True),
)
