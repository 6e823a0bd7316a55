"""Who may reach whom, as the specifications say it, one question at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from emulab.kinds.networking.clusterpolicyview import (
    ACCEPT,
    ADMIN,
    BASELINE,
    PASS,
    TIERS,
    ClusterNetworkPolicy,
)
from emulab.kinds.networking.policyview import (
    EGRESS,
    INGRESS,
    AddressBlock,
    NetworkPolicy,
    NodeSelection,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
    selected,
)
from emulab.model.addresses import IPAddress
from emulab.model.selectors import matches_selector
from emulab.plan.policies.facts import PolicyPod, PolicyScene


class PolicyEnd(NamedTuple):
    """One end of a flow: an address, and the pod that has it, if one has."""

    address: IPAddress
    pod: PolicyPod | None = None
    node: str = ""
    """Whose own address it is, if it is a node's."""


class RuledBy(NamedTuple):
    """A rule of a ClusterNetworkPolicy, by its number."""

    policy: ClusterNetworkPolicy
    direction: str
    number: int

    @property
    def action(self) -> str:
        """What it does with the flow."""
        return self.policy.rules[self.direction][self.number].action

    def __str__(self) -> str:
        return self.policy.whose(self.direction, self.number)


class DirectionVerdict(NamedTuple):
    """What is said of one direction of a flow."""

    policies: tuple[NetworkPolicy, ...] = ()
    """Those that isolate the pod."""
    allowed_by: tuple[NetworkPolicy, int] | None = None
    """A policy that allows the flow, with the number of its rule."""
    ruled_by: RuledBy | None = None
    """The rule of a ClusterNetworkPolicy that decides it for good."""

    @property
    def allows(self) -> bool:
        """Whether the flow may pass, as far as this direction goes."""
        if self.ruled_by is not None:
            return self.ruled_by.action == ACCEPT
        return not self.policies or self.allowed_by is not None


class FlowVerdict(NamedTuple):
    """What becomes of a flow."""

    egress: DirectionVerdict
    ingress: DirectionVerdict
    itself: bool = False
    """Whether the pod is both ends, by its own address."""
    hairpin: bool = False
    """Whether the pod is both ends, by a Service: NetworkPolicies allow that, and ClusterNetworkPolicies needn't."""
    kubelet: bool = False
    """Whether the pod's own node begins it, as the kubelet has to."""

    @property
    def allows(self) -> bool:
        """Whether it may pass."""
        return self.itself or self.kubelet or (self.egress.allows and self.ingress.allows)


class Verdicts:
    """What becomes of flows. Who isolates a pod, and whom a peer means, is found out once for each pod."""

    def __init__(
        self,
        policies: Sequence[NetworkPolicy],
        scene: PolicyScene,
        cluster: Sequence[ClusterNetworkPolicy] = (),
    ) -> None:
        self._policies, self._scene = policies, scene
        ordered = sorted(cluster, key=lambda one: one.rank)
        self._tiers = {tier: [one for one in ordered if one.tier == tier] for tier in TIERS}
        self._isolating: dict[tuple[str, str], dict[str, tuple[NetworkPolicy, ...]]] = {}
        self._ruling: dict[tuple[str, str, str, str], list[ClusterNetworkPolicy]] = {}
        self._meant: dict[tuple[int, str, str], bool] = {}  # by the identity of what a policy says

    def of(
        self, source: PolicyEnd, destination: PolicyEnd, protocol: str, port: int, by_service: bool = False
    ) -> FlowVerdict:
        """What becomes of a flow to this address and port, which is what kube-proxy has made of a Service's.

        `by_service`: it was one's, which matters to a pod that meets itself: ClusterNetworkPolicies judge it then.
        """
        itself = source.pod is not None and source.address == destination.address
        server = destination.pod
        hairpin = itself and by_service
        return FlowVerdict(
            self._direction(EGRESS, source.pod, destination, server, protocol, port, hairpin),
            self._direction(INGRESS, server, source, server, protocol, port, hairpin),
            itself and not by_service,
            hairpin,
            server is not None and bool(source.node) and source.node == server.node,
        )

    def _direction(
        self,
        direction: str,
        pod: PolicyPod | None,
        peer: PolicyEnd,
        server: PolicyPod | None,
        protocol: str,
        port: int,
        hairpin: bool,
    ) -> DirectionVerdict:
        """`server`: the pod whose names of ports count."""
        if pod is None:
            return DirectionVerdict()

        def matches(rule: PolicyRule) -> bool:
            return _has_port(rule, server, protocol, port) and self._has_peer(rule, peer)

        ruled = self._ruled_by(ADMIN, direction, pod, matches)
        if ruled is not None:
            return DirectionVerdict(ruled_by=ruled)
        isolating = self._isolated_by(direction, pod)
        if isolating and hairpin:
            return DirectionVerdict()  # which NetworkPolicies always allow
        for policy in isolating:
            for number, rule in enumerate(policy.rules[direction]):
                if matches(rule):
                    return DirectionVerdict(isolating, (policy, number))
        if isolating:
            return DirectionVerdict(isolating)
        return DirectionVerdict(ruled_by=self._ruled_by(BASELINE, direction, pod, matches))

    def _ruled_by(
        self, tier: str, direction: str, pod: PolicyPod, matches: Callable[[PolicyRule], bool]
    ) -> RuledBy | None:
        """The rule of a tier that decides a flow; None where none does, or hands it on."""
        for policy in self._ruling_over(tier, direction, pod):
            for number, rule in enumerate(policy.rules[direction]):
                if matches(rule.matches):
                    return None if rule.action == PASS else RuledBy(policy, direction, number)
        return None

    def _ruling_over(self, tier: str, direction: str, pod: PolicyPod) -> list[ClusterNetworkPolicy]:
        key = tier, direction, pod.namespace, pod.name
        if key not in self._ruling:
            about = direction, pod.labels, pod.namespace, self._scene.labels_of(pod.namespace)
            self._ruling[key] = [one for one in self._tiers[tier] if one.is_about(*about)]
        return self._ruling[key]

    def _isolated_by(self, direction: str, pod: PolicyPod) -> tuple[NetworkPolicy, ...]:
        known = self._isolating.setdefault((pod.namespace, pod.name), {})
        if direction not in known:
            known[direction] = tuple(selected(self._policies, direction, pod.labels, pod.namespace))
        return known[direction]

    def _has_peer(self, rule: PolicyRule, peer: PolicyEnd) -> bool:
        return rule.peers is None or any(self._is_peer(one, peer) for one in rule.peers)

    def _is_peer(self, one: PolicyPeer, peer: PolicyEnd) -> bool:
        if isinstance(one, AddressBlock):
            return one.has(peer.address)
        if isinstance(one, NodeSelection):
            node = self._scene.nodes.get(peer.node)
            return node is not None and matches_selector(one.nodes, node.labels)
        pod = peer.pod
        if pod is None:
            return False
        key = id(one), pod.namespace, pod.name
        if key not in self._meant:
            labels = self._scene.labels_of(pod.namespace)
            self._meant[key] = one.matches(pod.labels, pod.namespace, labels)
        return self._meant[key]


def _has_port(rule: PolicyRule, server: PolicyPod | None, protocol: str, port: int) -> bool:
    return rule.ports is None or any(_is_port(one, server, protocol, port) for one in rule.ports)


def _is_port(one: PolicyPort, server: PolicyPod | None, protocol: str, port: int) -> bool:
    if one.protocol != protocol:
        return False
    if one.name:
        return server is not None and server.port(protocol, one.name) == port
    return not one.first or one.first <= port <= one.last
