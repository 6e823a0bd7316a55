"""bgp-down: a node's speaker of BGP has shut its sessions down, as an operator's `disable` does.

The others have no route to the node's pods any more, and it has none to theirs; all else works, so that the node is
ready: https://github.com/projectcalico/calico/issues/2561
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Silenced
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (Silenced(target),)


FAULT = FaultKind(
    name="bgp-down",
    text="a node's BGP sessions are shut down: nobody knows the way to its pods, and it knows none to others'",
    target=NODE_TARGET,
    effects=_effects,
    symptom=Symptom("{other_pod}", ("ping", "-c", "1", "-W", "1", "{pod_address}")),
    says="BGP of node {target} is shut down: it has no sessions, and so nobody has its routes",
    reasons=frozenset({"no-route", "lost", "no-answer"}),
    thread="https://github.com/projectcalico/calico/issues/2561",
    decides=True,
    needs_network="bgp",
)
