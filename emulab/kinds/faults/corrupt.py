"""corrupt: a bad cable or memory, so that octets arrive that nobody sent, and a packet is dropped by its checksum."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Impaired
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import DIRECTION, Option, percent
from emulab.kinds.faults.scene import PLACE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return (Impaired(target, str(options["direction"]), corrupt=options["corrupt"] / 100),)


FAULT = FaultKind(
    name="corrupt",
    text="the wire of a place changes octets of packets, so that their checksums are wrong",
    target=PLACE_TARGET,
    effects=_effects,
    symptom=Symptom("{other}", ("sh", "-c", "ping -A -c 200 -W 1 {address} | grep -q ' 0% packet loss'")),
    says="the wire of {target} corrupts {corrupt} of the packets",
    reasons=frozenset({"lost", "no-answer", "unanswered", "cut-off", "no-target", "dropped"}),
    options={
        "corrupt": Option(percent, "10%", "share of the packets that are changed", "{:.6g}%"),
        "direction": DIRECTION,
    },
    traced=Traced(options={"corrupt": "100%"}),
)
