"""delay: a long way, or a queue that never empties."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Impaired
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import DIRECTION, Option, duration, in_time, time_or_none
from emulab.kinds.faults.scene import PLACE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    way, delay, jitter = str(options["direction"]), options["delay"], options["jitter"]
    return (Impaired(target, way, delay=delay, jitter=jitter),)


FAULT = FaultKind(
    name="delay",
    text="the wire of a place holds every packet for a while",
    target=PLACE_TARGET,
    effects=_effects,
    # A way there and back takes longer than the delay of one of them, and much less without.
    symptom=Symptom("{other}", ("ping", "-c", "1", "-W", "0.2", "{address}"), options={"delay": "200ms"}),
    says="the wire of {target} holds packets for {delay}",
    reasons=frozenset({"lost", "arp", "no-answer", "unanswered", "no-target"}),
    options={
        "delay": Option(duration, "100ms", "how long a packet is held", in_time),
        "jitter": Option(time_or_none, "0", "how much longer or shorter that may be", in_time),
        "direction": DIRECTION,
    },
    traced=Traced(options={"delay": "5s"}),
)
