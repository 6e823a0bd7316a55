"""What a trace is told of the Faults that are at work. Pure."""

from __future__ import annotations

from typing import Any

from emulab.kinds.emulab.fault import at_work
from emulab.kinds.faults.effects import (
    Askew,
    FewPorts,
    Filtered,
    Harm,
    Impaired,
    Isolated,
    KeptFlows,
    LateStart,
    LostOnWire,
    Redated,
    ReusedPorts,
    Searching,
    ShortKeepAlive,
    Silenced,
    StaleNames,
    Unready,
    Unsliced,
    Unsynced,
    WrongNeighbour,
    WrongWay,
)
from emulab.kinds.faults.scene import SERVICE_TARGET, Scene, qualified
from emulab.kinds.registry import FAULT
from emulab.model.collection import Objects
from emulab.plan.owner import Owner


def faults_at_work(objects: Objects) -> Owner | None:
    """Those that aren't hidden, with what each says of itself, the failures that may come of it, and its places: names
    that a failure is about then, and, of a fault at a Service, that Service."""
    scene, found = Scene.of(objects), list[dict[str, Any]]()
    for fault, effects in at_work(objects.kind(FAULT), scene):
        if fault.hidden:
            continue
        reasons = sorted(fault.kind.reasons)
        own = {"name": fault.name, "says": fault.says, "reasons": reasons, "decides": fault.kind.decides}
        service = qualified(fault.target) if fault.kind.target == SERVICE_TARGET else ""
        found.append({**own, "places": sorted({*map(_place, effects)}), "service": service})
    names = ", ".join(str(f["name"]) for f in found)
    return Owner("Fault", "", names, f"fault {names}", {"faults": found}) if found else None


def _place(effect: Harm) -> str:
    match effect:
        case LostOnWire(place) | Impaired(place) | WrongNeighbour(place):
            return place
        case StaleNames(name) | Redated(name) | Unsliced(name) | Isolated(name):
            return name
        case Unready(pod) | LateStart(pod) | ShortKeepAlive(pod):
            return pod
        case (
            Filtered(node)
            | FewPorts(node)
            | WrongWay(node)
            | Silenced(node)
            | Askew(node)
            | Unsynced(node)
            | KeptFlows(node)
            | ReusedPorts(node)
            | Searching(node)
        ):
            return node
