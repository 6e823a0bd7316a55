"""NetworkPolicies as rules and sets of nftables. A policy is put into rules once, whatever pods come and go."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from emulab.kinds.networking.policyview import (
    EGRESS,
    INGRESS,
    AddressBlock,
    NetworkPolicy,
    PodLabels,
    PodSelection,
    PolicyPort,
    PolicyRule,
)
from emulab.model.families import Family, family_of, of_family
from emulab.model.objects import Object
from emulab.plan.policies.facts import PolicyPod
from emulab.plan.rules.meaning import DROP, Meaning, meant

PORT = "meta l4proto . th dport"
COMPONENT = "network policy of"
_LAST_PORT = 65535
_PEERS = {INGRESS: "saddr", EGRESS: "daddr"}
_ANYBODY = PodSelection({}, {}, "")

RuleTexts = tuple[str, ...]


class PolicySet(NamedTuple):
    """A set that pods are in: with their addresses, or where it is about names of ports, with these as well."""

    peers: tuple[AddressBlock | PodSelection, ...]
    ports: tuple[PolicyPort, ...] = ()

    @property
    def namespace(self) -> str:
        """The one Namespace whose pods may be in it, or "" where any may."""
        own = {
            one.namespace if isinstance(one, PodSelection) and one.namespaces is None else ""
            for one in self.peers
        }
        return own.pop() if len(own) == 1 else ""

    @property
    def asks_namespaces(self) -> bool:
        """Whether it depends on labels of Namespaces."""
        return any(isinstance(one, PodSelection) and one.namespaces for one in self.peers)

    def elements(self, pod: PolicyPod, namespace_labels: PodLabels, family: Family) -> RuleTexts:
        """What a pod adds to it."""
        found = [
            str(address)
            for address in of_family(pod.addresses, family)
            if any(
                one.has(address)
                if isinstance(one, AddressBlock)
                else one.matches(pod.labels, pod.namespace, namespace_labels)
                for one in self.peers
            )
        ]
        if not self.ports or not found:
            return tuple(found)
        named = ((port.protocol, pod.port(port.protocol, port.name)) for port in self.ports)
        ports = {f"{protocol} . {number}" for protocol, number in named if number is not None}
        return tuple(f"{address} . {port}" for address in found for port in sorted(ports))


class CompiledPolicy:
    """A policy with its rules, each made when it is first asked for."""

    def __init__(self, policy: NetworkPolicy) -> None:
        self.policy = policy
        self.sets: dict[str, PolicySet] = {}
        """The sets that its rules may ask, by name."""
        self._made: dict[tuple[str, str, object], RuleTexts] = {}
        for direction, rules in policy.rules.items():
            for rule in rules:
                for made in _sets_of(direction, rule):
                    name = f"{'ports' if made.ports else 'pods'}-{digest(made)}"
                    self.sets[name] = made
        self._named_in = {
            direction: any(port.name for rule in rules for port in rule.ports or ())
            for direction, rules in policy.rules.items()
        }

    @classmethod
    def of(cls, o: Object) -> CompiledPolicy:
        """The policy that an object is."""
        return cls(NetworkPolicy.of(o))

    def rules(self, direction: str, pod: PolicyPod, family: Family) -> RuleTexts:
        """What it allows a pod that it isolates, each with all that it asks for. Only names of ports are the pod's."""
        key = direction, family.nft, pod.ports if direction == INGRESS and self._named_in[direction] else ()
        found = self._made.get(key)
        if found is None:
            rules = self.policy.rules[direction]
            texts = (text for rule in rules for text in _rule(direction, rule, pod, family))
            found = self._made[key] = tuple(f"{text} return".lstrip() for text in texts)
        return found


class PolicyChain(NamedTuple):
    """The rules for what is isolated alike."""

    name: str
    rules: RuleTexts
    sets: frozenset[str]
    """Names of the sets that they ask."""


def chain_of(
    direction: str, policies: Sequence[CompiledPolicy], pod: PolicyPod, family: Family
) -> PolicyChain:
    """The chain of those that are isolated as this pod is, by all of these policies."""
    rules = tuple(dict.fromkeys(text for policy in policies for text in policy.rules(direction, pod, family)))
    told = [one.policy for one in policies]
    name = f"{direction}-{digest([*rules, *map(str, told)])}"
    asked = frozenset(re.findall(r"@(\S+)", " ".join(rules)))
    return PolicyChain(name, ("", *rules, _denial(direction, told)), asked)


def digest(value: object) -> str:
    """A name for a value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _sets_of(direction: str, rule: PolicyRule) -> Iterator[PolicySet]:
    for peer in rule.peers or ():
        if isinstance(peer, PodSelection):
            yield PolicySet((peer,))
    if direction == EGRESS and (named := _named(rule)):
        yield PolicySet(rule.peers or (_ANYBODY,), named)


def _named(rule: PolicyRule) -> tuple[PolicyPort, ...]:
    return tuple(port for port in rule.ports or () if port.name)


def _rule(direction: str, rule: PolicyRule, pod: PolicyPod, family: Family) -> Iterator[str]:
    """What a rule allows a pod."""
    if rule.ports is None:
        yield from _of_peers(direction, rule, family)
        return
    numbered = [port for port in rule.ports if not port.name]
    named = _named(rule)
    if direction == INGRESS:
        known = ((port, pod.port(port.protocol, port.name)) for port in named)
        numbered += [PolicyPort(port.protocol, n, n) for port, n in known if n is not None]
    elif named:
        name = digest(PolicySet(rule.peers or (_ANYBODY,), named))
        yield f"{family.nft} daddr . {PORT} @ports-{name}"
    if numbered:
        at = f"{PORT} {{ {', '.join(_apart(numbered))} }}"
        for peers in _of_peers(direction, rule, family):
            yield f"{peers} {at}".lstrip()


def _of_peers(direction: str, rule: PolicyRule, family: Family) -> Iterator[str]:
    """That the other end is one of a rule's peers; "" where that is anybody."""
    if rule.peers is None:
        yield ""
        return
    field = f"{family.nft} {_PEERS[direction]}"
    for peer in rule.peers:
        if isinstance(peer, PodSelection):
            yield f"{field} @pods-{digest(PolicySet((peer,)))}"
        elif family_of(peer.network) is family:
            yield " ".join([f"{field} {peer.network}", *(f"{field} != {one}" for one in peer.exceptions)])


def _apart(ports: Iterable[PolicyPort]) -> Iterator[str]:
    """Numbered ports as elements of a set. Those that overlap are one element: the kernel refuses intervals that do."""
    ranges: dict[str, list[list[int]]] = {}
    for port in sorted(ports):
        first, last = (port.first, port.last) if port.first else (0, _LAST_PORT)
        known = ranges.setdefault(port.protocol, [])
        if known and first <= known[-1][1] + 1:
            known[-1][1] = max(last, known[-1][1])
        else:
            known.append([first, last])
    for protocol, known in ranges.items():
        for first, last in known:
            yield f"{protocol} . {first}" + (f"-{last}" if last != first else "")


def _denial(direction: str, policies: Sequence[NetworkPolicy]) -> str:
    """The last rule: what none of these has allowed."""
    first = policies[0]
    names = ", ".join(f"{one.namespace}/{one.name}" for one in policies)
    one = len(policies) == 1
    whose = f"{first}" if one else f"NetworkPolicies {names}"
    remedy = f"no rule of spec.{direction} of {whose} allows it: add one there, or in another NetworkPolicy"
    return meant("counter drop", Meaning(COMPONENT, DROP, "", str(first), remedy))
