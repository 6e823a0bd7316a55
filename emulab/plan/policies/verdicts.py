"""Who may reach whom, as the specification says it, one question at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from emulab.kinds.networking.policyview import (
    EGRESS,
    INGRESS,
    AddressBlock,
    NetworkPolicy,
    PodSelection,
    PolicyPort,
    PolicyRule,
    selected,
)
from emulab.model.addresses import IPAddress
from emulab.plan.policies.facts import PolicyPod, PolicyScene


class PolicyEnd(NamedTuple):
    """One end of a flow: an address, and the pod that has it, if one has."""

    address: IPAddress
    pod: PolicyPod | None = None
    node: str = ""
    """Whose own address it is, if it is a node's."""


class DirectionVerdict(NamedTuple):
    """What is said of one direction of a flow."""

    policies: tuple[NetworkPolicy, ...]
    """Those that isolate the pod."""
    allowed_by: tuple[NetworkPolicy, int] | None = None
    """A policy that allows the flow, with the number of its rule."""

    @property
    def allows(self) -> bool:
        """Whether the flow may pass, as far as this direction goes."""
        return not self.policies or self.allowed_by is not None


class FlowVerdict(NamedTuple):
    """What becomes of a flow."""

    egress: DirectionVerdict
    ingress: DirectionVerdict
    itself: bool = False
    kubelet: bool = False
    """Whether the pod's own node begins it, as the kubelet has to."""

    @property
    def allows(self) -> bool:
        """Whether it may pass."""
        return self.itself or self.kubelet or (self.egress.allows and self.ingress.allows)


class Verdicts:
    """What becomes of flows. Who isolates a pod, and whom a peer means, is found out once for each pod."""

    def __init__(self, policies: Sequence[NetworkPolicy], scene: PolicyScene) -> None:
        self._policies, self._scene = policies, scene
        self._isolating: dict[tuple[str, str], dict[str, tuple[NetworkPolicy, ...]]] = {}
        self._meant: dict[tuple[int, str, str], bool] = {}  # by the identity of what a policy says

    def of(self, source: PolicyEnd, destination: PolicyEnd, protocol: str, port: int) -> FlowVerdict:
        """What becomes of a flow to this address and port, which is what kube-proxy has made of a Service's."""
        itself = source.pod is not None and source.address == destination.address
        server = destination.pod
        return FlowVerdict(
            self._direction(EGRESS, source.pod, destination, server, protocol, port),
            self._direction(INGRESS, server, source, server, protocol, port),
            itself,
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
    ) -> DirectionVerdict:
        """`server`: the pod whose names of ports count."""
        if pod is None:
            return DirectionVerdict(())
        isolating = self._isolated_by(direction, pod)
        for policy in isolating:
            for number, rule in enumerate(policy.rules[direction]):
                if _has_port(rule, server, protocol, port) and self._has_peer(rule, peer):
                    return DirectionVerdict(isolating, (policy, number))
        return DirectionVerdict(isolating)

    def _isolated_by(self, direction: str, pod: PolicyPod) -> tuple[NetworkPolicy, ...]:
        known = self._isolating.setdefault((pod.namespace, pod.name), {})
        if direction not in known:
            known[direction] = tuple(selected(self._policies, direction, pod.labels, pod.namespace))
        return known[direction]

    def _has_peer(self, rule: PolicyRule, peer: PolicyEnd) -> bool:
        return rule.peers is None or any(self._is_peer(one, peer) for one in rule.peers)

    def _is_peer(self, one: AddressBlock | PodSelection, peer: PolicyEnd) -> bool:
        if isinstance(one, AddressBlock):
            return one.has(peer.address)
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
