"""reorder: packets of one flow take several ways, and some are quicker."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Impaired
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import DIRECTION, Option, duration, in_time, percent
from emulab.kinds.faults.scene import PLACE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    share = options["reorder"] / 100
    return (Impaired(target, str(options["direction"]), delay=options["delay"], reorder=share),)


FAULT = FaultKind(
    name="reorder",
    text="on the wire of a place some packets overtake the others",
    target=PLACE_TARGET,
    effects=_effects,
    # Of 100 packets, ten of them on their way at once, one comes before its turn for certain.
    symptom=Symptom(
        "{other}",
        (
            "sh",
            "-c",
            "ping -i 0.002 -c 100 -W 1 {address} | sed -n 's/.*icmp_seq=\\([0-9]*\\).*/\\1/p' | sort -nc",
        ),
    ),
    says="on the wire of {target} {reorder} of the packets overtake the others",
    reasons=frozenset({"lost", "no-answer", "unanswered"}),
    options={
        "reorder": Option(percent, "25%", "share of the packets that are not held", "{:.6g}%"),
        "delay": Option(duration, "20ms", "how long the others are held", in_time),
        "direction": DIRECTION,
    },
    traced=Traced(options={"delay": "5s", "reorder": "0.001%"}),
)
