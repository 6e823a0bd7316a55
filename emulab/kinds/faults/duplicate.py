"""duplicate: a loop between switches, or a link layer that repeats what was not acknowledged."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Impaired
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom
from emulab.kinds.faults.options import DIRECTION, Option, percent
from emulab.kinds.faults.scene import PLACE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return (Impaired(target, str(options["direction"]), duplicate=options["duplicate"] / 100),)


FAULT = FaultKind(
    name="duplicate",
    text="the wire of a place brings packets twice",
    target=PLACE_TARGET,
    effects=_effects,
    symptom=Symptom(
        "{other}", ("sh", "-c", 'case "$(ping -c 20 -i 0.01 -W 1 {address})" in *duplicates*) exit 1 ;; esac')
    ),
    says="the wire of {target} brings {duplicate} of the packets twice",
    reasons=frozenset(),
    options={
        "duplicate": Option(percent, "50%", "share of the packets that come twice", "{:.6g}%"),
        "direction": DIRECTION,
    },
    traced=None,
)
