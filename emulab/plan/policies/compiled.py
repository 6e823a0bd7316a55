"""NetworkPolicies as sets of addresses and rules of nftables, for one family."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from emulab.kinds.networking.policyview import (
    DIRECTIONS,
    EGRESS,
    INGRESS,
    AddressBlock,
    NetworkPolicy,
    PodSelection,
    PolicyPort,
    PolicyRule,
)
from emulab.model.families import Family, family_of, of_family
from emulab.plan.policies.facts import PolicyPod, PolicyScene
from emulab.plan.rules.meaning import DROP, Meaning, meant

PORT = "meta l4proto . th dport"
COMPONENT = "network policy"
_PEERS = {INGRESS: "saddr", EGRESS: "daddr"}
_ANYBODY = PodSelection({}, {}, "")

RuleTexts = tuple[str, ...]


class CompiledPolicies(NamedTuple):
    """What the tables of all nodes are made of."""

    peers: Mapping[str, frozenset[str]]
    """Sets of addresses, by name."""
    ports: Mapping[str, frozenset[str]]
    """Sets of addresses with protocol and port, where a rule names ports of its peers."""
    chains: Mapping[str, RuleTexts]
    """The rules for what is isolated alike."""
    leads: Mapping[str, Sequence[tuple[PolicyPod, str]]]
    """By direction the pods that are isolated, each with its chain."""


def compiled(policies: Sequence[NetworkPolicy], scene: PolicyScene, family: Family) -> CompiledPolicies:
    """All policies for these pods."""
    return _Compiler(policies, scene, family).all()


def digest(value: object) -> str:
    """A name for a value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


class _Compiler:
    def __init__(self, policies: Sequence[NetworkPolicy], scene: PolicyScene, family: Family) -> None:
        self._policies, self._scene, self._family = policies, scene, family
        self._peers: dict[str, frozenset[str]] = {}
        self._ports: dict[str, frozenset[str]] = {}
        self._chains: dict[str, RuleTexts] = {}
        self._selected: dict[str, tuple[PolicyPod, ...]] = {}
        self._in: dict[str, list[PolicyPod]] = {}
        for pod in scene.pods:
            self._in.setdefault(pod.namespace, []).append(pod)

    def all(self) -> CompiledPolicies:
        leads = {direction: self._leads(direction) for direction in DIRECTIONS}
        return CompiledPolicies(self._peers, self._ports, self._chains, leads)

    def _leads(self, direction: str) -> list[tuple[PolicyPod, str]]:
        about: dict[int, tuple[PolicyPod, list[NetworkPolicy]]] = {}
        for policy in self._policies:
            if direction in policy.rules:
                for pod in self._pods(policy.pods):
                    about.setdefault(id(pod), (pod, []))[1].append(policy)
        return [(pod, self._chain(direction, pod, policies)) for pod, policies in about.values()]

    def _pods(self, selection: PodSelection) -> tuple[PolicyPod, ...]:
        """The pods that are meant, those of a Namespace alone where it says one."""
        name = digest(selection)
        found = self._selected.get(name)
        if found is None:
            scene = self._scene
            given: Iterable[PolicyPod] = (
                self._in.get(selection.namespace, ()) if selection.namespaces is None else scene.pods
            )
            found = self._selected[name] = tuple(
                pod
                for pod in given
                if selection.matches(pod.labels, pod.namespace, scene.labels_of(pod.namespace))
            )
        return found

    def _chain(self, direction: str, pod: PolicyPod, policies: Sequence[NetworkPolicy]) -> str:
        """The chain of those that are isolated as this pod is."""
        rules: dict[str, None] = {}
        for policy in policies:
            for rule in policy.rules[direction]:
                rules |= dict.fromkeys(self._rules(direction, rule, pod))
        name = f"{direction}-{digest([*rules, *map(str, policies)])}"
        if name not in self._chains:
            self._chains[name] = (
                "",
                *(f"{rule} return".lstrip() for rule in rules),
                _denial(direction, policies),
            )
        return name

    def _rules(self, direction: str, rule: PolicyRule, pod: PolicyPod) -> Iterator[str]:
        """What a rule allows, each with all that it asks for."""
        ports = rule.ports
        if ports is None:
            yield from self._of_peers(direction, rule)
            return
        numbered = [port for port in ports if not port.name]
        named = [port for port in ports if port.name]
        if direction == INGRESS:
            known = ((port, pod.port(port.protocol, port.name)) for port in named)
            numbered += [PolicyPort(port.protocol, n, n) for port, n in known if n is not None]
        elif named and (elements := self._named(rule, named)):
            name = f"ports-{digest(sorted(elements))}"
            self._ports[name] = elements
            yield f"{self._family.nft} daddr . {PORT} @{name}"
        if numbered:
            at = f"{PORT} {{ {', '.join(dict.fromkeys(map(_port, numbered)))} }}"
            for peers in self._of_peers(direction, rule):
                yield f"{peers} {at}".lstrip()

    def _of_peers(self, direction: str, rule: PolicyRule) -> Iterator[str]:
        """That the other end is one of a rule's peers; "" where that is anybody."""
        if rule.peers is None:
            yield ""
            return
        field = f"{self._family.nft} {_PEERS[direction]}"
        for peer in rule.peers:
            if isinstance(peer, PodSelection):
                yield f"{field} @{self._set_of(peer)}"
            elif family_of(peer.network) is self._family:
                yield " ".join([f"{field} {peer.network}", *(f"{field} != {one}" for one in peer.exceptions)])

    def _set_of(self, peer: PodSelection) -> str:
        name = f"pods-{digest(peer)}"
        if name not in self._peers:
            self._peers[name] = frozenset(a for pod in self._pods(peer) for a in self._addresses(pod))
        return name

    def _addresses(self, pod: PolicyPod) -> Iterator[str]:
        return map(str, of_family(pod.addresses, self._family))

    def _named(self, rule: PolicyRule, ports: Sequence[PolicyPort]) -> frozenset[str]:
        """The peers with their ports of these names."""
        peers = (_ANYBODY,) if rule.peers is None else rule.peers
        return frozenset(
            f"{address} . {port.protocol} . {number}"
            for peer in peers
            for pod in (self._scene.pods if isinstance(peer, AddressBlock) else self._pods(peer))
            for address in of_family(pod.addresses, self._family)
            if not isinstance(peer, AddressBlock) or peer.has(address)
            for port in ports
            if (number := pod.port(port.protocol, port.name)) is not None
        )


def _port(port: PolicyPort) -> str:
    if not port.first:
        return f"{port.protocol} . 0-65535"
    return f"{port.protocol} . {port.first}" + (f"-{port.last}" if port.last != port.first else "")


def _denial(direction: str, policies: Sequence[NetworkPolicy]) -> str:
    """The last rule: what none of these has allowed."""
    first = policies[0]
    names = ", ".join(f"{one.namespace}/{one.name}" for one in policies)
    one = len(policies) == 1
    whose = f"{first}" if one else f"NetworkPolicies {names}"
    remedy = f"no rule of spec.{direction} of {whose} allows it: add one there, or in another NetworkPolicy"
    return meant("counter drop", Meaning(COMPONENT, DROP, "", str(first), remedy))
