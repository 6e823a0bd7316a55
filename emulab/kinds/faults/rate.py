"""rate: a wire that carries little."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Impaired
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import DIRECTION, Option, in_bits, rate
from emulab.kinds.faults.scene import PLACE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return (Impaired(target, str(options["direction"]), rate=options["rate"]),)


FAULT = FaultKind(
    name="rate",
    text="the wire of a place carries no more than so much a second; what waits too long is lost",
    target=PLACE_TARGET,
    effects=_effects,
    # 20 KB take longer than two seconds at 64 kbit/s.
    symptom=Symptom("{other}", ("ping", "-c", "1", "-W", "1", "-s", "20000", "{address}")),
    says="the wire of {target} carries {rate} a second",
    reasons=frozenset({"lost", "no-answer", "cut-off", "unanswered", "mtu"}),
    options={
        "rate": Option(rate, "64kbit", "bits a second, as tc writes them", in_bits),
        "direction": DIRECTION,
    },
    traced=Traced(octets=30000, options={"rate": "16kbit"}),
)
