"""Who may reach whom, as the specification says it, one question at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    @property
    def allows(self) -> bool:
        """Whether it may pass."""
        return self.itself or (self.egress.allows and self.ingress.allows)


def verdict(
    policies: Sequence[NetworkPolicy],
    scene: PolicyScene,
    source: PolicyEnd,
    destination: PolicyEnd,
    protocol: str,
    port: int,
) -> FlowVerdict:
    """What becomes of a flow to this address and port, which is what kube-proxy has made of a Service's."""
    itself = source.pod is not None and source.address == destination.address
    return FlowVerdict(
        _direction(policies, scene, EGRESS, source.pod, destination, destination.pod, protocol, port),
        _direction(policies, scene, INGRESS, destination.pod, source, destination.pod, protocol, port),
        itself,
    )


def _direction(
    policies: Iterable[NetworkPolicy],
    scene: PolicyScene,
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
    isolating = tuple(selected(policies, direction, pod.labels, pod.namespace))
    for policy in isolating:
        for number, rule in enumerate(policy.rules[direction]):
            if _has_peer(rule, peer, scene) and _has_port(rule, server, protocol, port):
                return DirectionVerdict(isolating, (policy, number))
    return DirectionVerdict(isolating)


def _has_peer(rule: PolicyRule, peer: PolicyEnd, scene: PolicyScene) -> bool:
    return rule.peers is None or any(_is_peer(one, peer, scene) for one in rule.peers)


def _is_peer(one: AddressBlock | PodSelection, peer: PolicyEnd, scene: PolicyScene) -> bool:
    if isinstance(one, AddressBlock):
        return one.has(peer.address)
    pod = peer.pod
    return pod is not None and one.matches(pod.labels, pod.namespace, scene.labels_of(pod.namespace))


def _has_port(rule: PolicyRule, server: PolicyPod | None, protocol: str, port: int) -> bool:
    return rule.ports is None or any(_is_port(one, server, protocol, port) for one in rule.ports)


def _is_port(one: PolicyPort, server: PolicyPod | None, protocol: str, port: int) -> bool:
    if one.protocol != protocol:
        return False
    if one.name:
        return server is not None and server.port(protocol, one.name) == port
    return not one.first or one.first <= port <= one.last
