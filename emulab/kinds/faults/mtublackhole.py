"""mtu-black-hole: a link on the way takes less than its ends believe, and nobody says so.

Small requests work, and big answers never come: what is too big is dropped, and the ICMP message that would say so is
filtered, or was never sent. https://github.com/projectcalico/calico/issues/2334
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, LostOnWire
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, size
from emulab.kinds.faults.scene import PLACE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return (LostOnWire(target, longer_than=int(options["mtu"])),)


FAULT = FaultKind(
    name="mtu-black-hole",
    text="the wire of a place loses what is bigger than its neighbours believe it takes, without a word",
    target=PLACE_TARGET,
    effects=_effects,
    symptom=Symptom("{other}", ("ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1400", "{address}")),
    says="the wire of {target} silently drops packets of more than {mtu} bytes",
    reasons=frozenset({"lost", "mtu", "no-answer", "cut-off", "unanswered"}),
    options={"mtu": Option(size(68, 9000), "1280", "bytes that the wire takes", "{:.0f}")},
    thread="https://github.com/projectcalico/calico/issues/2334",
    traced=Traced(octets=3000),
)
