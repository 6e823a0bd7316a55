"""When Faults begin and end, and where they are put: the phases of what is broken on purpose; and the objects that are
there for as long.

A lab without Faults doesn't load the library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from emulab.cluster.controllers.names import controller_reference, new_uid
from emulab.cluster.controllers.world import WorkingCopy, owner_uid, uid, unix_time
from emulab.kinds.kind import PLACE
from emulab.kinds.registry import FAULT, KINDS, NETWORK_POLICY
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object

if TYPE_CHECKING:
    from emulab.kinds.emulab.fault import Fault
    from emulab.kinds.faults.effects import Isolated
    from emulab.kinds.faults.scene import Scene

_COMPONENT = "emulab"
_LAST_PORT = 65535


def follow(world: WorkingCopy) -> None:
    """Says of each Fault whether it is at work, and tells of its begin and its end."""
    if not world.kind(FAULT):
        return
    scene = scene_of(world)
    for o in world.kind(FAULT):
        status = _status(o, scene, world.now)
        if status.get("phase") != o.status.get("phase"):
            _tell(world, o, status)
        world.put(o.replace(status=status))
    for o in world.kind(FAULT):
        _make(world, o, scene)


def stale_services(world: WorkingCopy) -> frozenset[str]:
    """The Services, NAMESPACE/NAME, whose EndpointSlices nobody writes any more."""
    if not world.kind(FAULT):
        return frozenset()
    from emulab.kinds.emulab.fault import at_work
    from emulab.kinds.faults.effects import Unsliced

    effects = (effect for _, effects in at_work(world.kind(FAULT), scene_of(world)) for effect in effects)
    return frozenset(effect.service for effect in effects if isinstance(effect, Unsliced))


def scene_of(world: WorkingCopy) -> Scene:
    """What Faults are put at."""
    from emulab.kinds.faults.scene import Scene

    return Scene.of_objects((o for kind in KINDS.of(PLACE) for o in world.kind(kind)), world.kind)


def due(world: WorkingCopy) -> Iterable[float]:
    """When a Fault begins, or ends."""
    return _moments(world) if world.kind(FAULT) else ()


def _moments(world: WorkingCopy) -> Iterator[float]:
    from emulab.kinds.emulab.fault import MENDED, Fault

    for o in world.kind(FAULT):
        fault, made, began = Fault.of(o), _time(o, "madeTime"), _time(o, "startTime")
        if fault.phase == MENDED:
            continue
        if began is not None and fault.lasts:
            yield began + fault.lasts
        elif began is None and made is not None:
            yield made + fault.at


def _status(o: Object, scene: Scene, now: float) -> dict[str, Any]:
    from emulab.kinds.emulab.fault import ACTIVE, MENDED, PENDING, Fault

    fault, status = Fault.of(o), dict(o.status)
    if fault.phase == MENDED:
        return status
    made = _time(o, "madeTime")
    if made is None:
        made, status["madeTime"] = now, _stamp(now)
    if fault.phase == PENDING:
        status["phase"] = PENDING
        status.pop("message", None)
        target, why = _target(o, fault, scene)
        if why:
            status["message"] = why
        elif now >= made + fault.at:
            status |= {"phase": ACTIVE, "startTime": _stamp(now), "target": target}
        return status
    began = _time(o, "startTime")
    if fault.lasts and began is not None and now >= began + fault.lasts:
        status |= {"phase": MENDED, "endTime": _stamp(now)}
    return status


def _target(o: Object, fault: Fault, scene: Scene) -> tuple[str, str]:
    """Where a fault is to be put, or why it can't be."""
    kind = fault.kind.target
    if not fault.target:
        drawn = scene.drawn(kind, fault.seed, o.name)
        return drawn, "" if drawn else f"there is no {kind} to put it at"
    return fault.target, "" if scene.has(kind, fault.target) else f"there is no {kind} {fault.target}"


def _make(world: WorkingCopy, o: Object, scene: Scene) -> None:
    """Makes the objects that a Fault consists of, and deletes those that it doesn't any more."""
    from emulab.kinds.emulab.fault import at_work
    from emulab.kinds.faults.effects import Isolated

    effects = [effect for _, effects in at_work([o], scene) for effect in effects]
    wanted = {made.key: made for made in (_policy(e) for e in effects if isinstance(e, Isolated))}
    for old in world.owned(o, NETWORK_POLICY):
        if old.key not in wanted:
            world.delete(old)
    for key, made in wanted.items():
        there = world.get(key)
        if there is None:
            own = {"uid": new_uid(key, f"{uid(o)} {world.now}"), "ownerReferences": [controller_reference(o)]}
            world.put(made.replace(metadata={**made.metadata, **own}))
        elif owner_uid(there) == uid(o):  # else it is another Fault's, which is the same
            world.put(made.replace(metadata=there.metadata))


def _policy(effect: Isolated) -> Object:
    namespace, _, name = effect.policy.partition("/")
    open_ports = [
        {"protocol": protocol, "port": first, "endPort": last}
        for protocol in ("TCP", "UDP")
        for first, last in ((1, effect.port - 1), (effect.port + 1, _LAST_PORT))
    ]
    return Object(
        {
            "apiVersion": NETWORK_POLICY.api_version,
            "kind": NETWORK_POLICY.kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "podSelector": {"matchLabels": dict(effect.labels)},
                "policyTypes": ["Egress"],
                "egress": [{"ports": open_ports}],
            },
        }
    )


def _tell(world: WorkingCopy, o: Object, status: dict[str, Any]) -> None:
    from emulab.kinds.emulab.fault import ACTIVE, MENDED, Fault

    if o.spec.get("hidden"):
        return
    if status["phase"] == ACTIVE:
        text = Fault.of(o.replace(status=status)).says
        world.tell(Tell(o, WARNING, "FaultPut", text, _COMPONENT))
    elif status["phase"] == MENDED:
        world.tell(Tell(o, NORMAL, "FaultMended", "its time is over", _COMPONENT))


def _time(o: Object, field: str) -> float | None:
    return unix_time(o.status.get(field))


def _stamp(now: float) -> str:
    """A moment to the microsecond: a fault of a second would else last for anything up to two."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
