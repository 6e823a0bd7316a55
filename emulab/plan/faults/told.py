"""What a trace is told of the Faults that are at work. Pure."""

from __future__ import annotations

from typing import Any

from emulab.kinds.emulab.fault import ACTIVE, Fault
from emulab.kinds.faults.effects import (
    Askew,
    FewPorts,
    Filtered,
    Harm,
    Impaired,
    KeptFlows,
    LostOnWire,
    ReusedPorts,
    Unsynced,
    WrongNeighbour,
    WrongWay,
)
from emulab.kinds.faults.scene import Scene
from emulab.kinds.registry import FAULT
from emulab.model.collection import Objects
from emulab.plan.owner import Owner


def faults_at_work(objects: Objects) -> Owner | None:
    """Those that aren't hidden, with what each says of itself, the failures that may come of it, and its places."""
    scene, found = Scene.of(objects), list[dict[str, Any]]()
    for fault in map(Fault.of, objects.kind(FAULT)):
        if fault.phase == ACTIVE and not fault.hidden:
            places = sorted({_place(effect) for effect in fault.effects(scene)})
            reasons = sorted(fault.kind.reasons)
            own = {"name": fault.name, "says": fault.says, "reasons": reasons, "places": places}
            found.append({**own, "decides": fault.kind.decides})
    names = ", ".join(str(f["name"]) for f in found)
    return Owner("Fault", "", names, f"fault {names}", {"faults": found}) if found else None


def _place(effect: Harm) -> str:
    match effect:
        case LostOnWire(place) | Impaired(place) | WrongNeighbour(place):
            return place
        case (
            Filtered(node)
            | FewPorts(node)
            | WrongWay(node)
            | Askew(node)
            | Unsynced(node)
            | KeptFlows(node)
            | ReusedPorts(node)
        ):
            return node
