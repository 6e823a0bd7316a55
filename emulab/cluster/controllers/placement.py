"""What the scheduler asks of a node: the filters and the count of what already runs where.

Each filter follows the kube-scheduler plugin that its comment names, and fails with that plugin's words,
which users know from `kubectl describe pod`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from emulab.cluster.controllers.noderesources import Allocation, RequestedAmounts, asked_by
from emulab.cluster.controllers.pods import has_ended, is_ending
from emulab.cluster.controllers.world import WorkingCopy, owner_uid
from emulab.kinds.registry import NODE, POD
from emulab.model.objects import Object
from emulab.model.selectors import matches_selector

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
DEFAULT_PODS = 110  # kubelet's maxPods
UNSCHEDULABLE = "node(s) were unschedulable"
TAINT = "node(s) had untolerated taint {{{key}: {value}}}"
AFFINITY = "node(s) didn't match Pod's node affinity/selector"
PORTS = "node(s) didn't have free ports for the requested pod ports"
TOO_MANY = "Too many pods"
SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = "node(s) didn't match pod topology spread constraints (missing required label)"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
POD_AFFINITY = "node(s) didn't match pod affinity rules"

HostPort = tuple[str, str, int]  # address ("" for all), protocol, port


def node_label(node: Object, key: str) -> str | None:
    """A node's label; its hostname is its name where no label says otherwise, as kubelet sets it."""
    return node.labels.get(key, node.name if key == "kubernetes.io/hostname" else None)


def node_affinity(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return (spec.get("affinity") or {}).get("nodeAffinity") or {}


def fits_node(spec: Mapping[str, Any], node: Object) -> bool:
    """`nodeSelector` and required node affinity (plugin NodeAffinity); terms are alternatives."""
    selector = spec.get("nodeSelector") or {}
    if any(node_label(node, key) != value for key, value in selector.items()):
        return False
    required = node_affinity(spec).get(REQUIRED)
    return not required or any(fits_term(term, node) for term in required.get("nodeSelectorTerms") or ())


def fits_term(term: Mapping[str, Any], node: Object) -> bool:
    """Whether a NodeSelectorTerm accepts the node; an empty term accepts none."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    return bool(expressions or fields) and all(
        [_fits(e, node_label(node, e["key"])) for e in expressions] + [_fits(e, node.name) for e in fields]
    )


def _fits(expression: Mapping[str, Any], value: str | None) -> bool:
    operator, values = expression["operator"], [str(v) for v in expression.get("values") or ()]
    if operator in ("Gt", "Lt"):
        try:
            difference = int(value or "") - int(values[0])
        except (ValueError, IndexError):
            return False
        return difference > 0 if operator == "Gt" else difference < 0
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(operator, False)


def host_ports(spec: Mapping[str, Any]) -> Iterator[HostPort]:
    """The ports that a Pod takes from its node; with `hostNetwork` that is every container port."""
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            number = port.get("hostPort") or (port.get("containerPort") if spec.get("hostNetwork") else 0)
            if number:
                address = port.get("hostIP") or ""
                yield "" if address in ("0.0.0.0", "::") else address, port.get("protocol") or "TCP", number


def clash(wanted: Iterable[HostPort], taken: Collection[HostPort]) -> bool:
    """Whether one of the wanted ports is among those that are taken."""
    return any(
        protocol == other_protocol and port == other_port and (not ip or not other or ip == other)
        for ip, protocol, port in wanted
        for other, other_protocol, other_port in taken
    )


class Ledger:
    """Where Pods run, counted in the ways that filters and scores ask for; kept up to date by `bind`."""

    def __init__(self, world: WorkingCopy) -> None:
        self.nodes = world.kind(NODE)
        self.rooms = {node.name: room(node) for node in self.nodes}
        self.total: Counter[str] = Counter()
        self.of_owner: dict[str, Counter[str]] = {}
        self._bound: list[tuple[Object, str]] = []
        self._matching: dict[str, tuple[str, Mapping[str, Any] | None, bool, Counter[str]]] = {}
        self._ports: dict[str, set[HostPort]] | None = None
        self.allocation = Allocation(self.nodes)
        self._asked = world.facts(POD, asked_by)
        for pod in world.kind(POD):
            if (node := pod.spec.get("nodeName")) and not has_ended(pod):
                self.bind(pod, node)

    def bind(self, pod: Object, node: str) -> None:
        """Counts one more Pod on a node. Ending ones take room, but don't stand for their workload."""
        self._bound.append((pod, node))
        self.total[node] += 1
        self.allocation.add(node, self._asked.get(pod.key))
        if not is_ending(pod):
            self.of_owner.setdefault(owner_uid(pod), Counter())[node] += 1
        for namespace, selector, ending, counts in self._matching.values():
            if _selected(pod, namespace, selector, ending):
                counts[node] += 1
        if self._ports is not None:
            self._ports.setdefault(node, set()).update(host_ports(pod.spec))

    def matching(self, namespace: str, selector: Mapping[str, Any] | None, ending: bool) -> Counter[str]:
        """Pods by node that a selector picks, ending ones on request; no selector picks none."""
        key = json.dumps([namespace, selector, ending], sort_keys=True, default=str)
        if key not in self._matching:
            counts = Counter(node for pod, node in self._bound if _selected(pod, namespace, selector, ending))
            self._matching[key] = (namespace, selector, ending, counts)
        return self._matching[key][3]

    def asked(self, pod: Object) -> RequestedAmounts | None:
        """What a Pod asks for of its node's resources."""
        return self._asked.get(pod.key)

    def ports_clash(self, wanted: Sequence[HostPort], node: str) -> bool:
        """Whether a wanted host port is taken (plugin NodePorts); "" is every address."""
        if self._ports is None:
            self._ports = {}
            for pod, where in self._bound:
                self._ports.setdefault(where, set()).update(host_ports(pod.spec))
        return clash(wanted, self._ports.get(node, ()))

    def domains(self, counts: Mapping[str, int], key: str, nodes: Sequence[Object]) -> Counter[str]:
        """Counts by node added up by a label's value, over the nodes that have the label."""
        sums: Counter[str] = Counter()
        for node in nodes:
            if (value := node_label(node, key)) is not None:
                sums[value] += counts.get(node.name, 0)
        return sums


def _selected(pod: Object, namespace: str, selector: Mapping[str, Any] | None, ending: bool) -> bool:
    return (
        selector is not None
        and pod.namespace == namespace
        and (ending or not is_ending(pod))
        and matches_selector(selector, pod.labels)
    )


def has_room(ledger: Ledger, node: Object) -> bool:
    """Whether one more Pod may run there, whatever it asks for (plugin NodeResourcesFit)."""
    name = node.name
    return ledger.total[name] < ledger.rooms[name]


def room(node: Object) -> int:
    """How many Pods the node takes."""
    allocatable = (node.status.get("allocatable") or {}).get("pods")
    return DEFAULT_PODS if allocatable is None else int(allocatable)
