"""Policies as rules and sets of nftables. A policy is put into rules once, whatever pods come and go."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from emulab.kinds.networking.clusterpolicyview import DENY, PASS, ClusterNetworkPolicy
from emulab.kinds.networking.policyview import (
    EGRESS,
    INGRESS,
    AddressBlock,
    NetworkPolicy,
    NodeSelection,
    PodLabels,
    PodSelection,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
)
from emulab.model.families import Family, family_of, of_family
from emulab.model.objects import Object
from emulab.model.selectors import matches_selector
from emulab.plan.policies.facts import PolicyNode, PolicyPod
from emulab.plan.rules.meaning import DROP, Meaning, meant

PORT = "meta l4proto . th dport"
COMPONENT = "network policy of"
_LAST_PORT = 65535
_PEERS = {INGRESS: "saddr", EGRESS: "daddr"}
_ANYBODY = PodSelection({}, {}, "")

RuleTexts = tuple[str, ...]


class PolicySet(NamedTuple):
    """A set that pods are in, with their addresses, or where it is about names of ports, with these as well; or one
    that nodes are in."""

    peers: tuple[PolicyPeer, ...]
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
    def of_nodes(self) -> bool:
        """Whether nodes are in it, and no pods."""
        return any(isinstance(one, NodeSelection) for one in self.peers)

    @property
    def asks_namespaces(self) -> bool:
        """Whether it depends on labels of Namespaces."""
        return any(isinstance(one, PodSelection) and one.namespaces for one in self.peers)

    def node_elements(self, node: PolicyNode, family: Family) -> RuleTexts:
        """What a node adds to it."""
        meant = any(
            isinstance(one, NodeSelection) and matches_selector(one.nodes, node.labels) for one in self.peers
        )
        return tuple(map(str, of_family(node.addresses, family))) if meant else ()

    def elements(self, pod: PolicyPod, namespace_labels: PodLabels, family: Family) -> RuleTexts:
        """What a pod adds to it."""
        found = [
            str(address)
            for address in of_family(pod.addresses, family)
            if any(
                one.has(address)
                if isinstance(one, AddressBlock)
                else isinstance(one, PodSelection)
                and one.matches(pod.labels, pod.namespace, namespace_labels)
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
                self.sets |= _sets_of(direction, rule)
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


class CompiledClusterPolicy:
    """A ClusterNetworkPolicy with what its rules match, each made when it is first asked for."""

    def __init__(self, policy: ClusterNetworkPolicy) -> None:
        self.policy = policy
        self.sets: dict[str, PolicySet] = {}
        self._made: dict[tuple[str, str, object], tuple[RuleTexts, ...]] = {}
        for direction, rules in policy.rules.items():
            for rule in rules:
                self.sets |= _sets_of(direction, rule.matches)

    @classmethod
    def of(cls, o: Object) -> CompiledClusterPolicy:
        """The policy that an object is."""
        return cls(ClusterNetworkPolicy.of(o))

    def rules(self, direction: str, pod: PolicyPod, family: Family, later: str) -> Iterator[str]:
        """What it decides of a pod, in order. `later`: the chain of the next tier, "" where there is none."""
        key = direction, family.nft, pod.ports if direction == INGRESS else ()
        found = self._made.get(key)
        own = self.policy.rules[direction]
        if found is None:
            found = self._made[key] = tuple(
                tuple(_rule(direction, rule.matches, pod, family)) for rule in own
            )
        for number, texts in enumerate(found):
            action = own[number].action
            if action == DENY:
                remedy = f"{self.policy.whose(direction, number)} denies it: accept it by a rule that is asked before"
                meaning = Meaning(COMPONENT, DROP, "", str(self.policy), remedy)
                for text in texts:
                    yield meant(f"{text} counter drop".lstrip(), meaning)
            else:
                verdict = f"goto {later}" if action == PASS and later else "return"
                yield from (f"{text} {verdict}".lstrip() for text in texts)


class PolicyChain(NamedTuple):
    """The rules for what is judged alike."""

    name: str
    rules: RuleTexts
    sets: frozenset[str]
    """Names of the sets that they ask."""
    later: tuple[PolicyChain, ...] = ()
    """The chain to which they hand on what they don't decide."""

    @property
    def all(self) -> tuple[PolicyChain, ...]:
        """With that one."""
        return (self, *self.later)


class Judges(NamedTuple):
    """Who judges a pod in a direction, those of ClusterNetworkPolicies in their order."""

    admin: tuple[CompiledClusterPolicy, ...] = ()
    isolating: tuple[CompiledPolicy, ...] = ()
    baseline: tuple[CompiledClusterPolicy, ...] = ()

    def __bool__(self) -> bool:
        return any(self)

    @property
    def of_itself(self) -> Judges:
        """Who judges what comes back to the pod that has sent it to a Service: NetworkPolicies allow that."""
        return Judges(self.admin, (), () if self.isolating else self.baseline)


def chain_of(direction: str, judges: Judges, pod: PolicyPod, family: Family) -> PolicyChain:
    """The chain of those that are judged as this pod is."""
    later: tuple[PolicyChain, ...] = ()
    if judges.isolating:
        policies = [one.policy for one in judges.isolating]
        allowed = dict.fromkeys(t for one in judges.isolating for t in one.rules(direction, pod, family))
        later = (
            _chain(direction, [*allowed, _denial(direction, policies)], [*allowed, *map(str, policies)]),
        )
    elif judges.baseline:
        later = (_tier(direction, judges.baseline, pod, family, ()),)
    return _tier(direction, judges.admin, pod, family, later) if judges.admin else later[0]


def _tier(
    direction: str,
    policies: Sequence[CompiledClusterPolicy],
    pod: PolicyPod,
    family: Family,
    later: tuple[PolicyChain, ...],
) -> PolicyChain:
    to = later[0].name if later else ""
    rules = [text for one in policies for text in one.rules(direction, pod, family, to)]
    rules += [f"goto {to}"] if to else []
    made = _chain(direction, rules, [*rules, *(one.policy for one in policies)])
    return made._replace(later=later)


def _chain(direction: str, rules: Sequence[str], about: object) -> PolicyChain:
    asked = frozenset(re.findall(r"@(\S+)", " ".join(rules)))
    return PolicyChain(f"{direction}-{digest(about)}", ("", *rules), asked)


def digest(value: object) -> str:
    """A name for a value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _sets_of(direction: str, rule: PolicyRule) -> Iterator[tuple[str, PolicySet]]:
    """The sets that a rule asks, by name."""
    for peer in rule.peers or ():
        if not isinstance(peer, AddressBlock):
            made = PolicySet((peer,))
            yield f"{'nodes' if made.of_nodes else 'pods'}-{digest(made)}", made
    if direction == EGRESS and (named := _named(rule)):
        made = PolicySet((_ANYBODY,) if rule.peers is None else rule.peers, named)
        yield f"ports-{digest(made)}", made


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
        name = digest(PolicySet((_ANYBODY,) if rule.peers is None else rule.peers, named))
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
        if not isinstance(peer, AddressBlock):
            kind = "nodes" if isinstance(peer, NodeSelection) else "pods"
            yield f"{field} @{kind}-{digest(PolicySet((peer,)))}"
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
