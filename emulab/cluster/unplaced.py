"""What can't be scheduled, and what to write into the Cluster so that it can be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emulab.cluster.controllers import noderesources, placement
from emulab.cluster.controllers.pods import condition, is_active, replicas_asked
from emulab.kinds.registry import DAEMON_SET, KINDS, NODE, POD, STATEFUL_SET
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.model.selectors import matches_selector

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_ZONE, _HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def unplaced(objects: Objects) -> list[tuple[Object, str]]:
    """Who asked for Pods that have no node, and a sentence about them: how many, why, and the remedy."""
    found: dict[str, tuple[Object, list[Object]]] = {}
    for pod in objects.facts(POD, refused_by_all).values():
        owner = root(objects, pod)
        found.setdefault(str(owner.key), (owner, []))[1].append(pod)
    return [(owner, _sentence(pods, objects)) for owner, pods in found.values()]


def refused_by_all(pod: Object) -> Object | None:
    """The Pod, if the scheduler has found no node for it."""
    placed = condition(pod, "PodScheduled")
    refused = placed.get("status") == "False" and placed.get("reason") == "Unschedulable"
    return pod if refused and is_active(pod) else None


def root(objects: Objects, o: Object) -> Object:
    """Whom a user asked for: the owner of the owner, as far as there is one."""
    for reference in o.metadata.get("ownerReferences") or ():
        kind = KINDS.named(str(reference.get("kind")))
        owner = objects.get(kind.key(o.namespace, str(reference.get("name")))) if kind else None
        if reference.get("controller") and owner is not None:
            return root(objects, owner)
    return o


def _sentence(pods: Sequence[Object], objects: Objects) -> str:
    pod = pods[0]
    many = f"{len(pods)} Pods" if len(pods) > 1 else "1 Pod"
    why = str(condition(pod, "PodScheduled").get("message") or "").rstrip(".")
    advice = "; ".join(dict.fromkeys(remedies(pod, objects)))
    return f"{many} can't be scheduled: {why}" + (f"; {advice}" if advice else "")


def remedies(pod: Object, objects: Objects) -> Iterator[str]:
    """What would give a Pod a node, one remedy for each reason why the nodes that there are refuse it."""
    said, nodes = str(condition(pod, "PodScheduled").get("message") or ""), objects.kind(NODE)
    if placement.AFFINITY in said:
        yield from _labels(pod.spec, nodes)
    if placement.SPREAD_LABEL in said:
        for constraint in pod.spec.get("topologySpreadConstraints") or ():
            yield from _label(str(constraint["topologyKey"]), None, nodes)
    terms = ((pod.spec.get("affinity") or {}).get("podAntiAffinity") or {}).get(_REQUIRED) or ()
    if placement.ANTI_AFFINITY in said:
        for term in terms:
            if term["topologyKey"] != _HOSTNAME and (count := _apart(pod, term, objects)):
                key = term["topologyKey"]
                yield f"{count} values of the nodes' label {key} are needed: Cluster spec.nodes"
    if placement.POD_AFFINITY in said:
        yield "it waits for a Pod that its podAffinity selects"
    daemon = any(r.get("kind") == DAEMON_SET.kind for r in pod.metadata.get("ownerReferences") or ())
    if placement.PORTS in said and (daemon or placement.AFFINITY in said):  # only some nodes will do
        yield "another Pod has its host port there"
    elif placement.PORTS in said or placement.ANTI_AFFINITY in said:
        needed = _nodes_needed(pod, [t for t in terms if t["topologyKey"] == _HOSTNAME], objects)
        if needed > len(nodes):
            yield f"{needed} nodes are needed: Cluster spec: {{nodes: {needed}}}"
    if placement.TOO_MANY in said:
        yield "the Cluster has too few spec.nodes"
    if noderesources.INSUFFICIENT in said:
        yield from _capacity(pod, nodes)


def _capacity(pod: Object, nodes: Sequence[Object]) -> Iterator[str]:
    """What a node would have to have for the Pod alone, where none has; else there is too much beside it."""
    asked, alone = noderesources.asked_by(pod) or {}, noderesources.Allocation(list(nodes))
    short = [alone.shortages(node.name, asked) for node in nodes]
    if not all(short):
        yield "what the nodes have is taken by other Pods: the Cluster takes more spec.nodes, or larger ones"
        return
    least = min(short, key=len)
    amounts = {s.resource: f"{s.requested}m" if s.resource == "cpu" else str(s.requested) for s in least}
    wanted = ", ".join(f"{name}: {amount}" for name, amount in amounts.items())
    yield f"no node has as much: Cluster spec: {{nodes: [{{name: {nodes[0].name}, capacity: {{{wanted}}}}}, …]}}"


def _active(objects: Objects) -> list[Object]:
    return [p for p in objects.kind(POD) if is_active(p)]


def _labels(spec: Mapping[str, Any], nodes: Sequence[Object]) -> Iterator[str]:
    """The labels that nodeSelector and required node affinity ask for, and that no node has."""
    for key, value in (spec.get("nodeSelector") or {}).items():
        yield from _label(key, str(value), nodes)
    for term in (placement.node_affinity(spec).get(_REQUIRED) or {}).get("nodeSelectorTerms") or ():
        for expression in term.get("matchExpressions") or ():
            if expression["operator"] in ("In", "Exists"):
                values: list[str | None] = [str(v) for v in expression.get("values") or ()] or [None]
                if not any(placement.fits_term({"matchExpressions": [expression]}, node) for node in nodes):
                    yield from _label(expression["key"], values[0], nodes)


def _label(key: str, value: str | None, nodes: Sequence[Object]) -> Iterator[str]:
    there = {placement.node_label(node, key) for node in nodes}
    if (value in there) if value is not None else (there != {None}):
        return
    wanted = f"{key}: {value or 'x'}"
    written = f"zone: {value or 'a'}" if key == _ZONE else f"labels: {{{wanted}}}"
    name = value if key == _HOSTNAME and value else nodes[0].name if nodes else "node1"
    entry = f"{{name: {name}}}" if key == _HOSTNAME else f"{{name: {name}, {written}}}"
    asked = f"{key}={value}" if value is not None else key
    yield f"no node has {asked}: Cluster spec: {{nodes: [{entry}, …]}} gives it one"


def _selects(pod: Object, term: Mapping[str, Any], other: Object) -> bool:
    """Whether a term of a Pod's affinity selects another Pod, or itself."""
    namespaces, selector = term.get("namespaces") or [pod.namespace], term.get("labelSelector")
    return selector is not None and other.namespace in namespaces and matches_selector(selector, other.labels)


def _apart(pod: Object, term: Mapping[str, Any], objects: Objects) -> int:
    """How many domains a Pod needs that is to be apart from what the term selects."""
    count = sum(_selects(pod, term, other) for other in _active(objects))
    if not count:
        return 0
    return count + _to_come([pod], objects) if _selects(pod, term, pod) else count + 1


def _nodes_needed(pod: Object, terms: Sequence[Mapping[str, Any]], objects: Objects) -> int:
    """How many nodes there must be for a Pod and those that wait as it does, beside those it can't be with."""
    ports = set(placement.host_ports(pod.spec))
    rivals = [
        other
        for other in _active(objects)
        if other.key != pod.key
        and (
            any(_selects(pod, term, other) for term in terms) or ports & set(placement.host_ports(other.spec))
        )
    ]
    taken = {node for other in rivals if (node := other.spec.get("nodeName"))}
    waiting = sum(not other.spec.get("nodeName") for other in rivals)
    return len(taken) + waiting + 1 + _to_come([pod, *rivals], objects)


def _to_come(pods: Sequence[Object], objects: Objects) -> int:
    """How many more Pods their owners will make: a StatefulSet makes one when the one before is Ready."""
    made: dict[str, int] = {}
    for reference in (r for p in _active(objects) for r in p.metadata.get("ownerReferences") or ()):
        made[str(reference.get("uid"))] = made.get(str(reference.get("uid")), 0) + 1
    owners = {
        (p.namespace, str(r.get("name")), str(r.get("uid")))
        for p in pods
        for r in p.metadata.get("ownerReferences") or ()
        if r.get("kind") == STATEFUL_SET.kind
    }
    found = ((objects.get(STATEFUL_SET.key(space, name)), uid) for space, name, uid in owners)
    return sum(max(0, replicas_asked(o) - made.get(uid, 0)) for o, uid in found if o is not None)
