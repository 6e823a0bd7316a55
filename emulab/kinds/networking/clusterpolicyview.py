"""ClusterNetworkPolicies as whoever enforces them reads them (policy.networking.k8s.io/v1alpha2).

Rules that are said of the specification (apis/v1alpha2 of kubernetes-sigs/network-policy-api):

* They come in two tiers: Admin before NetworkPolicies, Baseline behind them. A NetworkPolicy that isolates a pod
  decides in any case, so Baseline is asked about pods that none isolates.
* Within a tier the lower priority comes first, within a policy the rule that is written first. The first rule that
  matches a flow decides it: Accept and Deny for good, Pass hands it on to the next tier. What none matches goes on.
* Nothing is isolated by being selected: what no rule of any tier is about is allowed.
* Egress and ingress are asked about each for itself: what egress accepts may be denied where it comes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from emulab.kinds.networking.policyview import (
    DIRECTIONS,
    EGRESS,
    INGRESS,
    AddressBlock,
    NodeSelection,
    PodLabels,
    PodSelection,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
    network,
)
from emulab.model.objects import Object

ADMIN, BASELINE = TIERS = "Admin", "Baseline"
"""As they are asked, NetworkPolicies between them."""
ACCEPT, DENY, PASS = "Accept", "Deny", "Pass"
PROTOCOLS = ("tcp", "udp", "sctp")

_PEERS = {INGRESS: "from", EGRESS: "to"}


class ClusterRule(NamedTuple):
    """What becomes of the flows that a rule matches."""

    action: str
    name: str
    matches: PolicyRule


class ClusterNetworkPolicy(NamedTuple):
    """One ClusterNetworkPolicy."""

    name: str
    tier: str
    priority: int
    subject: PodSelection
    rules: Mapping[str, tuple[ClusterRule, ...]]
    """By the direction that they are about."""

    def __str__(self) -> str:
        return f"ClusterNetworkPolicy {self.name}"

    @property
    def rank(self) -> tuple[int, str]:
        """Those of a tier are asked in this order. Of two with one priority either may go first: here it is by name."""
        return self.priority, self.name

    def whose(self, direction: str, number: int) -> str:
        """One of its rules, as messages name it."""
        name = self.rules[direction][number].name
        return f"spec.{direction}[{number}]{f' ({name})' if name else ''} of {self} ({self.tier} tier)"

    def is_about(
        self, direction: str, labels: PodLabels, namespace: str, namespace_labels: PodLabels
    ) -> bool:
        """Whether it says something of a pod in a direction."""
        return bool(self.rules[direction]) and self.subject.matches(labels, namespace, namespace_labels)

    @classmethod
    def of(cls, o: Object) -> ClusterNetworkPolicy:
        """The policy that an object is."""
        spec = o.spec
        rules = {
            direction: tuple(_rule(rule, _PEERS[direction]) for rule in spec.get(direction) or ())
            for direction in DIRECTIONS
        }
        return cls(o.name, spec["tier"], spec["priority"], _pods(spec["subject"]), rules)


def _rule(rule: Mapping[str, Any], peers: str) -> ClusterRule:
    found = tuple(peer for one in rule[peers] for peer in _peer(one))
    protocols = rule.get("protocols")
    ports = tuple(port for one in protocols for port in _ports(one)) if protocols else None
    return ClusterRule(rule["action"], str(rule.get("name") or ""), PolicyRule(found, ports))


def _peer(peer: Mapping[str, Any]) -> Iterable[PolicyPeer]:
    if networks := peer.get("networks"):
        return [AddressBlock(network(one)) for one in networks]
    if "nodes" in peer:
        return [NodeSelection(peer["nodes"])]
    return [_pods(peer)] if "pods" in peer or "namespaces" in peer else []


def _pods(chosen: Mapping[str, Any]) -> PodSelection:
    pods = chosen.get("pods")
    if pods is None:
        return PodSelection({}, chosen["namespaces"], "")
    return PodSelection(pods["podSelector"], pods.get("namespaceSelector") or {}, "")


def _ports(protocol: Mapping[str, Any]) -> Iterable[PolicyPort]:
    """A named port is one of whatever protocol."""
    if name := protocol.get("destinationNamedPort"):
        return [PolicyPort(one, name=name) for one in PROTOCOLS]
    [(own, said)] = protocol.items()
    port = (said or {}).get("destinationPort") or {}
    span = port.get("range") or {}
    first = port.get("number") or span.get("start") or 0
    return [PolicyPort(own, first, span.get("end") or first)]
