"""What Pods ask for beside what nodes have (plugin NodeResourcesFit of the scheduler, with its words).

Amounts are whole numbers of thousandths: of processors, octets, or whatever the resource is.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from emulab.kinds.core.capacity import DEFAULT_CAPACITY
from emulab.model.objects import Object

RequestedAmounts = Mapping[str, int]

NOTHING: RequestedAmounts = {}
INSUFFICIENT = "Insufficient "
_ASSUMED = {"cpu": 100, "memory": 200 * (1 << 20) * 1000}
"""What a Pod that doesn't say is taken to need, where nodes are compared (`GetNonzeroRequests`)."""


def asked_by(pod: Object) -> RequestedAmounts | None:
    """What a Pod asks for: its containers, what runs before them if that is more, and its overhead. None: nothing."""
    spec = pod.spec
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    if not (spec.get("resources") or spec.get("overhead") or any(c.get("resources") for c in containers)):
        return None
    parts = tuple(spec.get(field) for field in ("containers", "initContainers", "resources", "overhead"))
    known = _KNOWN.get(key := tuple(map(id, parts)))
    if known is None:
        if len(_KNOWN) >= _MANY:
            _KNOWN.clear()
        known = _KNOWN[key] = parts, _summed(pod)
    return known[1]


_KNOWN: dict[tuple[int, ...], tuple[tuple[object, ...], RequestedAmounts | None]] = {}
"""By what Pods of one template share, what they ask for. The parts are kept, so that nothing else has their ids."""
_MANY = 1000


def _summed(pod: Object) -> RequestedAmounts | None:
    from emulab.kinds.core.resources import pod_requests  # exact arithmetic, which few need

    found = {name: _thousandths(amount.value) for name, amount in pod_requests(pod).items()}
    return {name: amount for name, amount in found.items() if amount} or None


def _thousandths(value: Fraction) -> int:
    return int(-(-value * 1000 // 1))


def allocatable(node: Object) -> dict[str, int]:
    """What a node has for Pods, but for their number."""
    given = {**DEFAULT_CAPACITY, **(node.status.get("allocatable") or {})}
    return {name: _read(str(value)) for name, value in given.items() if name != "pods"}


@cache  # nodes are much alike
def _read(text: str) -> int:
    from emulab.model.quantity import parse_quantity

    return _thousandths(parse_quantity(text).value)


class Shortage(NamedTuple):
    """Of what a node has too little. Processors in thousandths, all else in whole numbers."""

    resource: str
    requested: int
    used: int
    capacity: int

    @property
    def reason(self) -> str:
        return f"{INSUFFICIENT}{self.resource}"


class Allocation:
    """What of each node's resources is asked for."""

    def __init__(self, nodes: list[Object]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._have: dict[str, dict[str, int]] = {}
        self._used: dict[str, dict[str, int]] = {}
        self._assumed: dict[str, dict[str, int]] = {}
        self._load: dict[str, float] = {}  # as long as nothing is added

    def add(self, node: str, asked: RequestedAmounts | None) -> None:
        """Counts one more Pod on a node."""
        self._load.pop(node, None)
        assumed = self._assumed.setdefault(node, dict.fromkeys(_ASSUMED, 0))
        for name, amount in _ASSUMED.items():
            assumed[name] += (asked or NOTHING).get(name, amount)
        if asked:
            used = self._used.setdefault(node, {})
            for name, amount in asked.items():
                used[name] = used.get(name, 0) + amount

    def have(self, node: str) -> RequestedAmounts:
        if node not in self._have:
            self._have[node] = allocatable(self._nodes[node]) if node in self._nodes else {}
        return self._have[node]

    def shortages(self, node: str, asked: RequestedAmounts) -> list[Shortage]:
        """What of the asked the node hasn't left, in the order in which the scheduler looks: what it knows first."""
        have, used = self.have(node), self._used.get(node, NOTHING)
        if all(amount <= have.get(name, 0) - used.get(name, 0) for name, amount in asked.items()):
            return []
        order = sorted(asked, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
        return [
            Shortage(name, *(_told(name, n) for n in (asked[name], used.get(name, 0), have.get(name, 0))))
            for name in order
            if asked[name] > have.get(name, 0) - used.get(name, 0)
        ]

    def load(self, node: str) -> float:
        """How much of a node is taken, where nodes are compared (LeastAllocated): the mean of processors and memory."""
        load = self._load.get(node)
        if load is None:
            have, used = self.have(node), self._assumed.get(node, NOTHING)
            load = sum(used.get(name, 0) / (have.get(name) or 1) for name in _ASSUMED) / len(_ASSUMED)
            self._load[node] = load
        return load


_ORDER = {"cpu": 0, "memory": 1, "ephemeral-storage": 2}


def _told(name: str, thousandths: int) -> int:
    return thousandths if name == "cpu" else -(-thousandths // 1000)
