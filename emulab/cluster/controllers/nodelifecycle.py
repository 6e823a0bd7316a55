"""Nodes that nobody hears of any more: pkg/controller/nodelifecycle, and pkg/controller/tainteviction.

A kubelet tells every few seconds that it is there. A node that was not heard of for `nodeMonitorGracePeriod` is not
ready, and its Pods aren't: Services leave them out. It gets the taint `node.kubernetes.io/unreachable`, by which no
Pod is placed there, and those that are there are deleted once they don't tolerate it any longer: after the 300 s that
admission gives each (plug-in DefaultTolerationSeconds), at once, or never, as DaemonSets' Pods.

The taint that evicts comes to one node of a zone at a time (`--node-eviction-rate`), to none of a small zone of which
more than half is lost, and to none at all when every zone is: then it is rather the control plane that is cut off
(`handleDisruption`, `ComputeZoneState`).

Who can't be heard of is what Faults say of the nodes' cables: labs have no API server that kubelets would talk to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.cluster.controllers.faults import scene_of
from emulab.cluster.controllers.pods import condition, has_ended, is_active, is_ready, with_condition
from emulab.cluster.controllers.world import WorkingCopy, rfc3339, unix_time
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import CLUSTER, FAULT, NODE, POD
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object

UNREACHABLE = "node.kubernetes.io/unreachable"
NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "NoExecute"

_CONTROLLER, _EVICTOR = "node-controller", "taint-eviction-controller"
_ZONE = "topology.kubernetes.io/zone"
_EVERY = 10.0  # seconds from the eviction of one node of a zone to the next: 0.1 a second
_LARGE = 50  # nodes of a zone that is evicted however much of it is lost
_UNHEALTHY = 0.55  # share of a zone's nodes from which on it is disrupted
_SILENT = "Kubelet stopped posting node status."
_TOLD = "NodeNotReady"
_TARGET, _DELETION = "DisruptionTarget", "DeletionByTaintManager"
_DELETING = "Taint manager: deleting due to NoExecute taint"


def monitor(world: WorkingCopy) -> None:
    """Says of each node whether it is heard of, and takes the Pods away from those that aren't."""
    if not world.kind(FAULT) and not world.facts(NODE, _lost):
        return
    since, grace = _silent_since(world), _cluster(world).node_grace
    for node in world.kind(NODE):
        silent = since.get(node.name)
        if silent is not None and world.now >= silent + grace:
            _lose(world, node)
        elif silent is None and _is_lost(node):
            _find(world, node)
    _taint(world)
    _evict(world)


def due(world: WorkingCopy) -> Iterable[float]:
    """When a node will not be ready, is to be evicted, or its Pods tolerate that no longer."""
    return _moments(world) if world.kind(FAULT) else ()


def tolerates(pod: Object, taint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The toleration of a Pod's own that is for a taint; None without."""
    tolerations: Sequence[Mapping[str, Any]] = pod.spec.get("tolerations") or ()
    return next((one for one in tolerations if _fits(one, taint)), None)


def untolerated(pod: Object, node: Object) -> Mapping[str, Any] | None:
    """The first of a node's taints for which no new Pod of this kind may be placed there; None without."""
    return next((taint for taint in node.spec.get("taints") or () if tolerates(pod, taint) is None), None)


def _fits(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """core/v1, `ToleratesTaint`."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    return toleration.get("operator") == "Exists" or str(toleration.get("value") or "") == str(
        taint.get("value") or ""
    )


def _lost(node: Object) -> Object | None:
    return node if _is_lost(node) else None


def _is_lost(node: Object) -> bool:
    return condition(node, "Ready").get("status") == "Unknown"


def _cluster(world: WorkingCopy) -> Cluster:
    return next(map(Cluster.of, world.kind(CLUSTER)), Cluster())


def _silent_since(world: WorkingCopy) -> dict[str, float]:
    """The nodes whose cable carries nothing, and since when."""
    if not world.kind(FAULT):
        return {}
    from emulab.kinds.emulab.fault import at_work
    from emulab.kinds.faults.effects import LostOnWire

    scene = scene_of(world)
    found: dict[str, float] = {}
    for fault, effects in at_work(world.kind(FAULT), scene):
        for effect in effects:
            if isinstance(effect, LostOnWire) and effect.cuts_off:
                found[effect.place] = min(fault.began, found.get(effect.place, fault.began))
    return found


def _lose(world: WorkingCopy, node: Object) -> None:
    """A node isn't heard of any more, and neither are its Pods."""
    if not _is_lost(node):
        status = with_condition(node.status, world.now, "Ready", "Unknown", "NodeStatusUnknown", _SILENT)
        taints = [
            *_others(node),
            {"effect": NO_SCHEDULE, "key": UNREACHABLE, "timeAdded": rfc3339(world.now)},
        ]
        world.put(node.replace(spec={**node.spec, "taints": taints}, status=status))
        world.tell(Tell(node, NORMAL, _TOLD, f"Node {node.name} status is now: {_TOLD}", _CONTROLLER))
    for pod in world.kind(POD):
        if pod.spec.get("nodeName") == node.name and is_ready(pod):
            world.put(pod.replace(status=with_condition(pod.status, world.now, "Ready", "False")))
            world.tell(Tell(pod, WARNING, _TOLD, "Node is not ready", _CONTROLLER))


def _find(world: WorkingCopy, node: Object) -> None:
    """A node is heard of again. Its kubelet says how its Pods are."""
    text = "kubelet is posting ready status"
    spec = {field: value for field, value in node.spec.items() if field != "taints"}
    if others := _others(node):
        spec["taints"] = others
    status = with_condition(node.status, world.now, "Ready", "True", "KubeletReady", text)
    if any(taint["effect"] == NO_EXECUTE for taint in node.spec.get("taints") or ()):
        for pod in _evictable(world, node):
            if _evicted_at(world, pod, node) is not None:
                message = f"Cancelling deletion of Pod {pod.namespace}/{pod.name}"
                world.tell(Tell(pod, NORMAL, "TaintManagerEviction", message, _EVICTOR))
    world.put(node.replace(spec=spec, status=status))
    told = Tell(node, NORMAL, "NodeReady", f"Node {node.name} status is now: NodeReady", "kubelet", node.name)
    world.tell(told)


def _others(node: Object) -> list[Mapping[str, Any]]:
    return [taint for taint in node.spec.get("taints") or () if taint["key"] != UNREACHABLE]


def _evicting(node: Object) -> Mapping[str, Any] | None:
    taints = (t for t in node.spec.get("taints") or () if t["key"] == UNREACHABLE)
    return next((taint for taint in taints if taint["effect"] == NO_EXECUTE), None)


class _Zone(NamedTuple):
    """The nodes of a zone, of which some are lost."""

    nodes: Sequence[Object]
    lost: Sequence[Object]

    @property
    def is_full(self) -> bool:
        return len(self.lost) == len(self.nodes)

    @property
    def is_spared(self) -> bool:
        """Whether so much of it is lost that nobody is evicted."""
        much = len(self.lost) > 2 and len(self.lost) / len(self.nodes) >= _UNHEALTHY
        return much and not self.is_full and len(self.nodes) <= _LARGE


def _zones(world: WorkingCopy) -> list[_Zone]:
    found: dict[str, list[Object]] = {}
    for node in world.kind(NODE):
        found.setdefault(node.labels.get(_ZONE, ""), []).append(node)
    return [_Zone(nodes, [*filter(_is_lost, nodes)]) for nodes in found.values()]


def _queued(world: WorkingCopy) -> Iterator[tuple[Object, float]]:
    """The nodes that are yet to get the taint that evicts, and when."""
    zones = _zones(world)
    if all(zone.is_full for zone in zones):
        return
    for zone in zones:
        given = [
            unix_time(taint["timeAdded"]) for node in zone.lost if (taint := _evicting(node)) is not None
        ]
        last = max(filter(None, given), default=None)
        for node in () if zone.is_spared else (node for node in zone.lost if _evicting(node) is None):
            at = world.now if last is None else last + _EVERY
            yield node, at
            last = at


def _taint(world: WorkingCopy) -> None:
    zones = _zones(world)
    if all(zone.is_full for zone in zones):
        for node in world.kind(NODE):
            if _evicting(node) is not None:
                kept = [
                    t for t in node.spec["taints"] if (t["key"], t["effect"]) != (UNREACHABLE, NO_EXECUTE)
                ]
                world.put(node.replace(spec={**node.spec, "taints": kept}))
        return
    for node, at in [*_queued(world)]:
        if at <= world.now:
            taint = {"effect": NO_EXECUTE, "key": UNREACHABLE, "timeAdded": rfc3339(world.now)}
            world.put(node.replace(spec={**node.spec, "taints": [*(node.spec.get("taints") or ()), taint]}))


def _evictable(world: WorkingCopy, node: Object) -> list[Object]:
    return [pod for pod in world.kind(POD) if pod.spec.get("nodeName") == node.name and not has_ended(pod)]


def _evicted_at(world: WorkingCopy, pod: Object, node: Object) -> float | None:
    """When a Pod is to be deleted; None for never, and for one that is ending."""
    taint = _evicting(node)
    if taint is None or not is_active(pod) or _is_daemon(pod):
        return None
    own = tolerates(pod, taint)
    seconds = own.get("tolerationSeconds") if own is not None else _cluster(world).toleration
    return None if seconds is None else (unix_time(taint["timeAdded"]) or 0.0) + max(0.0, float(seconds))


def _is_daemon(pod: Object) -> bool:
    """Whether its controller gives it a toleration without an end (`AddOrUpdateDaemonPodTolerations`)."""
    return any(owner.get("kind") == "DaemonSet" for owner in pod.metadata.get("ownerReferences") or ())


def _evict(world: WorkingCopy) -> None:
    """Marks Pods whose time is over, and deletes those that are marked: of a Pod that goes nothing else is written."""
    for node in [node for node in world.kind(NODE) if _evicting(node) is not None]:
        for pod in _evictable(world, node):
            at = _evicted_at(world, pod, node)
            if at is None or world.now < at:
                continue
            if condition(pod, _TARGET).get("reason") == _DELETION:
                world.delete(pod)
                continue
            status = with_condition(pod.status, world.now, _TARGET, "True", _DELETION, _DELETING)
            world.put(pod.replace(status=status))
            marked = f"Marking for deletion Pod {pod.namespace}/{pod.name}"
            world.tell(Tell(pod, NORMAL, "TaintManagerEviction", marked, _EVICTOR))


def _moments(world: WorkingCopy) -> Iterator[float]:
    grace = _cluster(world).node_grace
    lost = {node.name for node in world.kind(NODE) if _is_lost(node)}
    yield from (at + grace for name, at in _silent_since(world).items() if name not in lost)
    yield from (at for _, at in _queued(world))
    for node in world.kind(NODE):
        if _evicting(node) is not None:
            moments = (_evicted_at(world, pod, node) for pod in _evictable(world, node))
            yield from (at for at in moments if at is not None)
