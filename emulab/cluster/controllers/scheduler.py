"""Pods get nodes: pkg/scheduler, with the filters and scores that a data plane notices.

Filters, in the plugins' order: unschedulable nodes, taints, node selector and affinity, host ports, number of Pods
and what they ask for, topology spread, inter-Pod affinity (of the Pod itself: anti-affinity of Pods that run already
is not asked).
Among the nodes left the choice is, by the first that differs: preferred node affinity, soft topology spread,
fewest Pods of the same controller, least of it asked for, fewest Pods, the node that came first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emulab.cluster.controllers import placement, telling
from emulab.cluster.controllers.nodelifecycle import untolerated
from emulab.cluster.controllers.noderesources import RequestedAmounts
from emulab.cluster.controllers.placement import Ledger, fits_node, fits_term, node_label
from emulab.cluster.controllers.pods import is_active, with_condition
from emulab.cluster.controllers.queued import Queued, Score
from emulab.cluster.controllers.room import importance
from emulab.cluster.controllers.storage import scheduling as storage
from emulab.cluster.controllers.storage.binding import bind_for
from emulab.cluster.controllers.world import WorkingCopy, owner_uid
from emulab.kinds.registry import POD
from emulab.model.objects import Object
from emulab.model.selectors import matches_selector

Veto = Callable[[Object], str | None]  # node → why not


_GATED = "Scheduling is blocked due to non-empty scheduling gates"


def _hold(world: WorkingCopy, pod: Object) -> None:
    """Says of a Pod that its gates keep it from being placed (registry/core/pod, `applySchedulingGatedCondition`)."""
    status = with_condition(pod.status, world.now, "PodScheduled", "False", "SchedulingGated", _GATED)
    if status != pod.status:
        world.put(pod.replace(status=status))


def schedule(world: WorkingCopy) -> None:
    """Binds every Pod that has no node yet; says on the Pod why where there is none for it."""
    unbound = [pod for pod in world.kind(POD) if not pod.spec.get("nodeName") and is_active(pod)]
    waiting = [pod for pod in unbound if not pod.spec.get("schedulingGates")]
    for pod in unbound:
        if pod.spec.get("schedulingGates"):
            _hold(world, pod)
    waiting.sort(key=importance)  # plugin PrioritySort: otherwise who came first is first
    if not waiting:
        return
    ledger = Ledger(world)
    # By sibling, why it was refused: until a Pod is bound the next one is refused for the same.
    refused: dict[Sibling, str] = {}
    alike = _Alike(ledger)
    for pod in waiting:
        sibling = (owner_uid(pod) or str(pod.key), id(pod.raw.get("spec")))
        message = refused.get(sibling, "") or _without_volumes(world, ledger, pod)
        more = [] if message else storage.vetoes(world, pod)
        node = None if message or more else alike.node_for(sibling, pod)
        if node is None and not message:
            fitting, refusals = _filter(ledger, pod, more)
            node = _best(ledger, pod, fitting) if fitting else None
            message = "" if fitting else _refusal(len(ledger.nodes), refusals)
        if node is None:
            refused[sibling] = message
            status = with_condition(pod.status, world.now, "PodScheduled", "False", "Unschedulable", message)
            if status != pod.status:
                telling.refused(world, pod, message)
            world.put(pod.replace(status=status))
            continue
        status = with_condition(pod.status, world.now, "PodScheduled", "True")
        bound = pod.replace(spec={**pod.spec, "nodeName": node.name}, status=status)
        world.put(bound)
        telling.bound(world, pod, node.name)
        bind_for(world, bound)
        ledger.bind(bound, node.name)
        alike.bound(sibling)
        refused.clear()


Sibling = tuple[str, int]
"""Who wants a Pod, and the identity of its spec: two of these are refused and wanted by the same nodes."""


class _Alike:
    """Nodes for Pods of which one is like the last, where it doesn't matter for that who else is where."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._sibling: Sibling | None = None
        self._queued: Queued | None = None

    def node_for(self, sibling: Sibling, pod: Object) -> Object | None:
        """The best node, if it can be said; None: all nodes are to be asked."""
        if self._sibling != sibling:
            self._sibling, self._queued = sibling, None
            if not _looks_around(pod):
                self._queued = Queued(self._ledger.nodes, _score(self._ledger, pod))
        if self._queued is None:
            return None
        choosy = pod if _is_choosy(pod) else None
        asked = self._ledger.asked(pod)
        return self._queued.best(lambda n: not _simple_vetoes(self._ledger, pod, choosy, n, [], asked))

    def bound(self, sibling: Sibling) -> None:
        """A Pod has been bound: to the best node, if `node_for` has said one."""
        if self._queued is not None and sibling == self._sibling:
            self._queued.bound()
        else:
            self._sibling = None


def _looks_around(pod: Object) -> bool:
    """Whether it matters to a Pod who else is where, beyond what is counted for all."""
    affinity = pod.spec.get("affinity") or {}
    others = pod.spec.get("topologySpreadConstraints") or affinity.get("podAffinity")
    return bool(others or affinity.get("podAntiAffinity") or [*placement.host_ports(pod.spec)])


def _is_choosy(pod: Object) -> bool:
    """Whether a Pod asks for nodes of a certain kind."""
    return bool(pod.spec.get("nodeSelector") or placement.node_affinity(pod.spec))


def _refusal(nodes: int, refusals: Counter[str]) -> str:
    """The sentence users know: how many nodes refused, for which reasons (`FitError` of the framework)."""
    if not nodes:
        return "no nodes available to schedule pods"
    reasons = ", ".join(sorted(f"{number} {reason}" for reason, number in refusals.items()))
    return f"0/{nodes} nodes are available: {reasons}."


def _without_volumes(world: WorkingCopy, ledger: Ledger, pod: Object) -> str:
    """Why no node can take the Pod as its volumes are; "" where one may."""
    why = storage.refusal(world, pod)
    return f"0/{len(ledger.nodes)} nodes are available: {why}." if why else ""


def _filter(ledger: Ledger, pod: Object, more: Sequence[Veto]) -> tuple[list[Object], Counter[str]]:
    """The nodes that may take the Pod, and how many refused it for which reasons of the first plugin that did."""
    vetoes = [_spread_veto(ledger, pod, constraint) for constraint in _spread(pod, "DoNotSchedule")]
    vetoes += [*_affinity_vetoes(ledger, pod), *more]
    ports = list(placement.host_ports(pod.spec))
    choosy = _is_choosy(pod)
    asked = ledger.asked(pod)
    fitting: list[Object] = []
    refusals: Counter[str] = Counter()
    for node in ledger.nodes:
        reasons = _simple_vetoes(ledger, pod, pod if choosy else None, node, ports, asked)
        if not reasons and vetoes:
            why = next((why for veto in vetoes if (why := veto(node)) is not None), None)
            reasons = () if why is None else (why,)
        if reasons:
            refusals.update(reasons)
        else:
            fitting.append(node)
    return fitting, refusals


def _simple_vetoes(
    ledger: Ledger,
    pod: Object,
    choosy: Object | None,
    node: Object,
    ports: list[placement.HostPort],
    asked: RequestedAmounts | None,
) -> Sequence[str]:
    """Why the node can't take a Pod; `choosy` is the Pod where it asks for nodes of a certain kind."""
    if node.spec.get("unschedulable"):
        return (placement.UNSCHEDULABLE,)
    if node.spec.get("taints") and (taint := untolerated(pod, node)) is not None:
        return (placement.TAINT.format(key=taint["key"], value=taint.get("value") or ""),)
    if choosy is not None and not fits_node(choosy.spec, node):
        return (placement.AFFINITY,)
    if ports and ledger.ports_clash(ports, node.name):
        return (placement.PORTS,)
    full = () if placement.has_room(ledger, node) else (placement.TOO_MANY,)
    if not asked:
        return full
    return (*full, *(short.reason for short in ledger.allocation.shortages(node.name, asked)))


def _best(ledger: Ledger, pod: Object, fitting: list[Object]) -> Object:
    return fitting[0] if len(fitting) == 1 else min(fitting, key=_score(ledger, pod))


def _score(ledger: Ledger, pod: Object) -> Score:
    """How nodes are compared for a Pod."""
    preferred = placement.node_affinity(pod.spec).get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    soft = [
        (constraint["topologyKey"], _domains(ledger, pod, constraint, ledger.nodes))
        for constraint in _spread(pod, "ScheduleAnyway")
    ]
    owner = owner_uid(pod)
    siblings = ledger.of_owner.setdefault(owner, Counter()) if owner else Counter[str]()

    def score(node: Object) -> tuple[float, ...]:
        name = node.name
        weight = sum(p["weight"] for p in preferred if fits_term(p["preference"], node))
        crowd = sum(domains[node_label(node, key) or ""] for key, domains in soft)
        return -weight, crowd, siblings[name], ledger.allocation.load(name), ledger.total[name]

    return score


def _spread(pod: Object, action: str) -> list[Mapping[str, Any]]:
    constraints = pod.spec.get("topologySpreadConstraints") or ()
    return [c for c in constraints if (c.get("whenUnsatisfiable") or "DoNotSchedule") == action]


def _spread_selector(pod: Object, constraint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The constraint's selector, narrowed to the Pod's own values of `matchLabelKeys` (KEP-3243)."""
    selector: Mapping[str, Any] | None = constraint.get("labelSelector")
    own = {key: pod.labels[key] for key in constraint.get("matchLabelKeys") or () if key in pod.labels}
    if selector is None or not own:
        return selector
    return {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **own}}


def _domains(ledger: Ledger, pod: Object, constraint: Mapping[str, Any], nodes: list[Object]) -> Counter[str]:
    counts = ledger.matching(pod.namespace, _spread_selector(pod, constraint), ending=False)
    return ledger.domains(counts, constraint["topologyKey"], nodes)


def _spread_veto(ledger: Ledger, pod: Object, constraint: Mapping[str, Any]) -> Veto:
    """Refuses nodes whose domain would exceed the emptiest by more than `maxSkew` (PodTopologySpread)."""
    key, selector = constraint["topologyKey"], _spread_selector(pod, constraint)
    hard = [c["topologyKey"] for c in _spread(pod, "DoNotSchedule")]
    eligible = [
        node
        for node in ledger.nodes
        if (constraint.get("nodeAffinityPolicy") == "Ignore" or fits_node(pod.spec, node))
        and all(node_label(node, k) is not None for k in hard)
    ]
    domains = _domains(ledger, pod, constraint, eligible)
    least = min(domains.values(), default=0)
    if len(domains) < (constraint.get("minDomains") or 1):  # KEP-3022
        least = 0
    itself = selector is not None and matches_selector(selector, pod.labels)
    most = least + int(constraint.get("maxSkew") or 1) - itself

    def veto(node: Object) -> str | None:
        domain = node_label(node, key)
        if domain is None:
            return placement.SPREAD_LABEL
        return None if domains[domain] <= most else placement.SPREAD

    return veto


def _affinity_vetoes(ledger: Ledger, pod: Object) -> list[Veto]:
    """Required inter-Pod affinity and anti-affinity (InterPodAffinity)."""
    affinity = pod.spec.get("affinity") or {}
    vetoes: list[Veto] = []
    for field, together in (("podAffinity", True), ("podAntiAffinity", False)):
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        for term in (affinity.get(field) or {}).get(required) or ():
            vetoes.append(_affinity_veto(ledger, pod, term, together))
    return vetoes


def _affinity_veto(ledger: Ledger, pod: Object, term: Mapping[str, Any], together: bool) -> Veto:
    key, selector = term["topologyKey"], term.get("labelSelector")
    namespaces = term.get("namespaces") or [pod.namespace]
    counts: Counter[str] = Counter()
    for namespace in namespaces:
        counts.update(ledger.matching(namespace, selector, ending=True))
    domains = ledger.domains(counts, key, ledger.nodes)
    itself = pod.namespace in namespaces and selector is not None and matches_selector(selector, pod.labels)
    # The first of Pods that want to be together would wait for itself for ever.
    first = together and itself and not any(domains.values())

    def veto(node: Object) -> str | None:
        domain = node_label(node, key)
        if together:
            alone = domain is None or (not first and not domains[domain])
            return placement.POD_AFFINITY if alone else None
        return placement.ANTI_AFFINITY if domain is not None and domains[domain] else None

    return veto
