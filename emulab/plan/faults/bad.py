"""Cables that are slow, narrow or bad: what Faults say of them, in the plan's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.faults.effects import FROM, TO, Impaired
from emulab.plan.faults.wire import whats
from emulab.plan.impaired import NOTHING, Cable, Impairment


def cables(effects: Sequence[Impaired], cluster: Cluster) -> Mapping[str, Cable]:
    """What becomes of the cables of each place."""
    found: dict[str, list[Cable]] = {}
    for e in effects:
        corrupt = tuple((what, e.corrupt) for what in whats(e.what, cluster)) if e.corrupt else ()
        wanted = Impairment(e.delay, e.jitter, 0, e.reorder, e.duplicate, corrupt, e.rate)
        cable = Cable(
            NOTHING if e.direction == FROM else wanted,
            NOTHING if e.direction == TO else wanted,
        )
        found.setdefault(e.place, []).append(cable)
    return {place: Cable.of(own) for place, own in found.items()}
