"""What Faults do to kubelets: nodes of which nobody hears, and pods whose readiness probes fail."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from emulab.kinds.registry import FAULT
from emulab.model.collection import Objects


class Harmed(NamedTuple):
    """`unready`: by pod, NAMESPACE.NAME, since when (Unix time), and for how many seconds its probes fail in every
    second span of them."""

    cut_off: frozenset[str] = frozenset()
    unready: Mapping[str, tuple[float, int]] = {}

    def is_unready(self, pod: str) -> bool:
        """Whether a pod's readiness probes fail now: at first they do."""
        if pod not in self.unready:
            return False
        since, period = self.unready[pod]
        return int((time.time() - since) // period) % 2 == 0


UNHARMED = Harmed()


def harmed(objects: Objects) -> Harmed:
    """Without Faults nothing of them is loaded."""
    if not objects.members(FAULT):
        return UNHARMED
    from emulab.kinds.emulab.fault import at_work
    from emulab.kinds.faults.effects import LostOnWire, Unready
    from emulab.kinds.faults.scene import Scene

    cut_off, unready = set[str](), dict[str, tuple[float, int]]()
    for fault, effects in at_work(objects.kind(FAULT), Scene.of(objects)):
        for effect in effects:
            if isinstance(effect, LostOnWire) and effect.cuts_off:
                cut_off.add(effect.place)
            elif isinstance(effect, Unready):
                unready[effect.pod] = fault.began, effect.period
    return Harmed(frozenset(cut_off), unready)
