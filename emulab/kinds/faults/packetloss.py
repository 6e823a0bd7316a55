"""packet-loss: a bad cable, or a switch that is too full."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, LostOnWire
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import DIRECTION, Option, percent
from emulab.kinds.faults.scene import PLACE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return (LostOnWire(target, str(options["direction"]), share=float(options["loss"]) / 100),)


FAULT = FaultKind(
    name="packet-loss",
    text="the wire of a place loses packets at random",
    target=PLACE_TARGET,
    effects=_effects,
    # Of 200 packets one is lost at the least with a probability of 1 - 1e-9; -A: as soon as the last one is answered.
    symptom=Symptom(
        "{other}",
        ("sh", "-c", "ping -A -c 200 -W 1 {address} | grep -q ' 0% packet loss'"),
    ),
    says="the wire of {target} loses {loss} of the packets",
    reasons=frozenset({"lost", "arp", "no-answer", "unanswered"}),
    options={
        "loss": Option(percent, "10%", "share of the packets that is lost", "{:.6g}%"),
        "direction": DIRECTION,
    },
    traced=Traced(options={"loss": "100%"}),
)
