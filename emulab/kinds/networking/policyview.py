"""NetworkPolicies as whoever enforces them reads them (networking.k8s.io/v1).

Rules that are said of the specification:

* A policy isolates the pods that it selects, in each direction that it is about: what no policy for that direction
  allows is denied. Policies add up, and there is no order.
* `policyTypes` that aren't said are Ingress, and Egress where there are egress rules (SetDefaults_NetworkPolicy): so an
  empty list of egress rules denies nothing until the type is named.
* A rule without peers is for everybody, one without ports for every port of every protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any, NamedTuple

from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.objects import Object
from emulab.model.selectors import matches_selector

INGRESS, EGRESS = "ingress", "egress"
"""The directions, seen from the pods that a policy selects."""
DIRECTIONS = (INGRESS, EGRESS)

PodLabels = Mapping[str, str]
LabelSelector = Mapping[str, Any]


class AddressBlock(NamedTuple):
    """Addresses, pods' or not."""

    network: IPNetwork
    exceptions: tuple[IPNetwork, ...] = ()

    def has(self, address: IPAddress) -> bool:
        """Whether an address is meant."""
        return _within(address, self.network) and not any(_within(address, one) for one in self.exceptions)


def _within(address: IPAddress, network: IPNetwork) -> bool:
    return address.version == network.version and address in network


class PodSelection(NamedTuple):
    """Pods by their labels, in Namespaces by theirs, or in one Namespace where `namespaces` is None."""

    pods: LabelSelector
    namespaces: LabelSelector | None
    namespace: str

    def matches(self, labels: PodLabels, namespace: str, namespace_labels: PodLabels) -> bool:
        """Whether a pod with these labels in that Namespace is meant."""
        if self.namespaces is None:
            if namespace != self.namespace:
                return False
        elif not matches_selector(self.namespaces, namespace_labels):
            return False
        return matches_selector(self.pods, labels)


class NodeSelection(NamedTuple):
    """The addresses of nodes, by their labels."""

    nodes: LabelSelector


PolicyPeer = AddressBlock | PodSelection | NodeSelection


class PolicyPort(NamedTuple):
    """Ports of a protocol: all of them (`first` is 0), a range, or those of a name."""

    protocol: str  # tcp | udp | sctp
    first: int = 0
    last: int = 0
    name: str = ""


class PolicyRule(NamedTuple):
    """What is allowed: any of these peers at any of these ports. None: everybody, every port of every protocol."""

    peers: tuple[PolicyPeer, ...] | None
    ports: tuple[PolicyPort, ...] | None


class NetworkPolicy(NamedTuple):
    """One NetworkPolicy."""

    namespace: str
    name: str
    pods: PodSelection
    rules: Mapping[str, tuple[PolicyRule, ...]]
    """By the directions in which the policy isolates."""

    def __str__(self) -> str:
        return f"NetworkPolicy {self.namespace}/{self.name}"

    @classmethod
    def of(cls, o: Object) -> NetworkPolicy:
        """The policy that an object is."""
        spec = o.spec
        given = {INGRESS: spec.get("ingress") or (), EGRESS: spec.get("egress") or ()}
        types = [one.lower() for one in spec.get("policyTypes") or ()]
        types = types or [INGRESS, *([EGRESS] if given[EGRESS] else [])]
        peers = {INGRESS: "from", EGRESS: "to"}
        rules = {
            direction: tuple(_rule(rule, peers[direction], o.namespace) for rule in given[direction])
            for direction in DIRECTIONS
            if direction in types
        }
        return cls(o.namespace, o.name, PodSelection(spec.get("podSelector") or {}, None, o.namespace), rules)


def _rule(rule: Mapping[str, Any], peers: str, namespace: str) -> PolicyRule:
    given, ports = rule.get(peers), rule.get("ports")
    return PolicyRule(
        tuple(_peer(one, namespace) for one in given) if given else None,
        tuple(map(_port, ports)) if ports else None,
    )


def _peer(peer: Mapping[str, Any], namespace: str) -> PolicyPeer:
    if block := peer.get("ipBlock"):
        return AddressBlock(network(block["cidr"]), tuple(map(network, block.get("except") or ())))
    return PodSelection(peer.get("podSelector") or {}, peer.get("namespaceSelector"), namespace)


def network(text: str) -> IPNetwork:
    """As `net.ParseCIDR` reads it: with or without bits behind the prefix."""
    return ip_network(text, strict=False)


def _port(port: Mapping[str, Any]) -> PolicyPort:
    protocol, number = str(port.get("protocol") or "TCP").lower(), port.get("port")
    if number is None:
        return PolicyPort(protocol)
    if isinstance(number, str):
        return PolicyPort(protocol, name=number)
    return PolicyPort(protocol, number, port.get("endPort") or number)


def selected(
    policies: Iterable[NetworkPolicy], direction: str, labels: PodLabels, namespace: str
) -> list[NetworkPolicy]:
    """The policies that isolate a pod in a direction."""
    return [
        policy
        for policy in policies
        if direction in policy.rules
        and policy.namespace == namespace
        and policy.pods.matches(labels, namespace, {})
    ]
