"""one-way: requests arrive, and the answers don't come back.

As with a route or a firewall that is right in one direction alone: the half-open connections of a balancer whose
backend answers by another way.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import FROM, Harm, LostOnWire
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.scene import PLACE_TARGET, Scene


def _effects(_: Scene, target: str, __: FaultOptions) -> Sequence[Harm]:
    return (LostOnWire(target, FROM),)


FAULT = FaultKind(
    name="one-way",
    text="what is sent to a place arrives, and what it sends itself is lost",
    target=PLACE_TARGET,
    effects=_effects,
    symptom=Symptom("{other}", ("ping", "-c", "1", "-W", "1", "{address}")),
    says="what {target} sends is lost on its wire",
    reasons=frozenset({"arp", "lost", "dead-node", "no-answer", "no-target"}),
)
